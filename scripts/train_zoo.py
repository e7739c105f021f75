"""Train the rows of the zoo, one after the other: python scripts/train_zoo.py [ROW ...]

It goes on where it was interrupted, passes over what is done, and may run several times at once on one folder of runs.
Stop it at any time; on another machine it goes on from a copy of that folder. Of a finished run it keeps
ppeconv/zoo/<row>/seed<N>/record.json, the weights beside it and docs/results/<row>_seed<N>.csv in the checkout --into.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppeconv.zoo.rows import Job

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> int:
    """Train what is left; returns the exit code."""
    options = parser().parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    from ppeconv.engine.interrupt import Stopped, advising, listening
    from ppeconv.engine.startup import import_paddle
    from ppeconv.errors import UserError

    try:
        with listening(), advising("the same command goes on"):
            import_paddle()
            return train_all(options)
    except UserError as error:
        print(f"train_zoo: error: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"train_zoo: {stopped}", file=sys.stderr)
        return stopped.exit_code


def train_all(options: argparse.Namespace) -> int:
    """Train the chosen rows in turn, and go on past one that fails; returns the exit code."""
    from ppeconv.errors import UserError
    from ppeconv.zoo.rows import chosen, read_jobs

    failed = []
    for job in chosen(read_jobs(options.file), options.rows):
        if options.list:
            print(f"{'done' if is_done(job, options.into) else 'open':<5} {job.row.table:<8} {job.name}")
        elif not is_done(job, options.into):
            try:
                train_job(job, options)
            except UserError as error:
                print(f"train_zoo: {job.name}: {error}", file=sys.stderr)
                failed.append(job.name)
    return 2 if failed else 0


def parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names of rows or of runs; all when none is given")
    parser.add_argument("--list", action="store_true", help="show what is done and what is open, and train nothing")
    parser.add_argument("--runs", type=Path, default=ROOT / "output" / "zoo", help="folder of the runs under way")
    parser.add_argument(
        "--into", type=Path, default=ROOT, help="checkout whose records are written (default: this one)"
    )
    parser.add_argument("--file", type=Path, default=ROOT / "ppeconv" / "zoo" / "rows.yaml", help="file of the rows")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a run (default 1)")
    return parser


def train_job(job: Job, options: argparse.Namespace) -> None:
    """Train one run to its end and keep its record, unless another process is at it."""
    from ppeconv.engine.lock import Busy, Lock
    from ppeconv.zoo.record import keep

    options.runs.mkdir(parents=True, exist_ok=True)
    settings = ["Global.checkpoints=auto", "Global.save_step_interval=100", "Global.use_visualdl=false"]
    lock = Lock(options.runs / f"{job.name}.lock", f"{job.name} is being trained", "this process goes on with the next")
    try:
        lock.take()
    except Busy as busy:
        print(f"train_zoo: {busy}", flush=True)
        return
    with lock:
        if is_done(job, options.into):  # by the process that had the lock a moment ago
            return
        experiment = job.experiment(options.runs / job.name, settings)
        experiment.train()
        record = keep(job, experiment.run, options.into, source())
        print(f"{time.strftime('%H:%M:%S')} {job.name}: top-1 {record.last_top1:.4f}", flush=True)


def is_done(job: Job, checkout: Path) -> bool:
    """Whether the run's record lies in the checkout."""
    return (checkout / "ppeconv" / "zoo" / job.folder / "record.json").is_file()


def source() -> str:
    """The tag, if there is one, and the commit that this script belongs to: "zoo-1, 5a75376f1c2b"."""
    command = ["git", "-C", str(ROOT), "describe", "--tags", "--always", "--dirty", "--long", "--abbrev=12"]
    described = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    tag, _, commit = described.rpartition("-g")
    return f"{tag.removesuffix('-0')}, {commit}" if tag else described


if __name__ == "__main__":
    sys.exit(main())
