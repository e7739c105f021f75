"""From a trained network to a served one."""
