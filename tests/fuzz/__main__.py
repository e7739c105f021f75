"""python -m tests.fuzz [--minutes N] [--seed N] [TARGET ...]: feed what reads files with damaged and hostile ones."""

import argparse

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS

parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Feed what reads files with hostile ones.")
parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help=f"{', '.join(TARGETS)}; all when none is given")
parser.add_argument("--minutes", type=float, default=20, help="for each target (default 20)")
parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
options = parser.parse_args()
for name in options.targets or TARGETS:
    print(name, dict(fuzz(name, minutes=options.minutes, first=options.seed)), flush=True)
