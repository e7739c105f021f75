"""Learning rate schedules: per step, from epochs as a config writes them; one file each.

Each is called with (steps per epoch, steps of the whole run) and gives one of Paddle's schedulers.
"""

from ppeconv.engine.schedules.parts import scaled

__all__ = ["scaled"]
