"""One experiment, from a config or from one's own network and data: train, evaluate, export, predict.

This package alone reads whole configs; everything below it takes plain values.
"""

import sys

from ppeconv.engine.startup import import_paddle

if "paddle" not in sys.modules:
    import_paddle()  # with all cores, as the command line does

from ppeconv.experiment.experiment import Experiment

__all__ = ["Experiment"]
