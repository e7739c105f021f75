"""From a trained network and a latency budget to what stands best in the place of every layer."""
