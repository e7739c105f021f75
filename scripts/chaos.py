"""Kill a real training again and again, and look whether anything was lost: python scripts/chaos.py --kills 100

It trains on the first 2,000 images of CIFAR-10 without a break. Then it starts the same training, ends it with SIGKILL
at a random moment (of a start, a step, a save or an evaluation) and starts it again with Global.checkpoints=auto, until
it is finished; and so on until there were so many kills. Weights, optimizer and table of every finished run must equal
the unbroken one's, and no epoch that was evaluated may be trained again. With --damage the newest checkpoint is
emptied, cut or has a bit flipped after a kill; with --full-disk (as root, on Linux) the disk of the run fills up.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import io
import math
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "resnet20_spconv_cifar10"
SETTINGS = (
    "Arch.width=0.25 Global.epochs=3 Global.save_step_interval=3 Global.print_batch_step=1 Global.use_visualdl=false "
    "DataLoader.Train.sampler.batch_size=128"
)
IMAGES = {"train": 2000, "test": 500}
STEPS = 16
"""Of an epoch."""
DISK_MIB = 64


def main() -> int:
    """Returns the exit code: 1 where something was lost."""
    options = parser().parse_args()
    draw, counts = np.random.default_rng(options.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        options.data = first_images(Path(folder) / "data")
        begin = time.monotonic()
        whole = Training(Path(folder) / "whole", options)
        whole.finish()
        length = time.monotonic() - begin
        expected = whole.digest()
        print(f"unbroken: {length:.1f} s, {expected}", flush=True)
        while counts["kills"] < options.kills:
            broken = Training(Path(folder) / f"broken{counts['runs']}", options)
            with disk(broken.folder) if options.full_disk else contextlib.nullcontext():
                broken_to_the_end(broken, length, draw, options, counts)
                counts["runs"] += 1
                if broken.digest() != expected:
                    counts["different"] += 1
            print(", ".join(f"{name} {count}" for name, count in counts.items()), flush=True)
    lost = counts["different"] + counts["epochs lost"]
    print(f"{'LOST' if lost else 'nothing lost'}: {dict(counts)}; weights, optimizer and table: {expected}")
    return 1 if lost else 0


def parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many in all (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--config", default=CONFIG, help=f"a shipped config (default {CONFIG})")
    parser.add_argument("-o", dest="settings", nargs="+", default=[], help="further settings of the config")
    parser.add_argument("--damage", action="store_true", help="damage the newest checkpoint after half of the kills")
    parser.add_argument("--full-disk", action="store_true", help="fill the disk up instead of killing")
    return parser


def broken_to_the_end(
    training: Training, length: float, draw: np.random.Generator, options: argparse.Namespace, counts: Counter[str]
) -> None:
    """Break a training at random moments until it ends by itself."""
    while True:
        before = training.epochs()
        moment = draw.uniform(0.2, 0.9) * length if counts["kills"] < options.kills else None
        ended = training.run(moment, fill=options.full_disk)
        resumed = training.resumed_at()
        if resumed is not None and resumed < before and not training.damaged:
            counts["epochs lost"] += math.ceil(before - resumed)
        if ended:
            return
        counts["kills"] += 1
        counts[f"while {training.last_heard()}"] += 1
        training.damaged = options.damage and draw.random() < 0.5 and training.damage(draw)
        counts["damaged checkpoints"] += training.damaged


def first_images(folder: Path) -> Path:
    """The first images of CIFAR-10, as an archive of the official layout in that folder."""
    sys.path.insert(0, str(ROOT))
    from ppeconv.data.datasets import Cifar10, data_root

    folder.mkdir()
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        for split, name in (("train", "data_batch_1"), ("test", "test_batch")):
            images, labels = (array[: IMAGES[split]] for array in Cifar10(data_root(), split).arrays)
            planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
            content = pickle.dumps({b"data": planes, b"labels": labels.tolist()}, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return folder


class Training:
    """One run folder and the commands that train into it."""

    def __init__(self, folder: Path, options: argparse.Namespace):
        self.folder, self.damaged, self.output = folder, False, ""
        settings = [*SETTINGS.split(), *options.settings, f"Global.output_dir={folder}", "Global.checkpoints=auto"]
        settings.append(f"Global.data_root={options.data}")
        self.command = [sys.executable, "-W", "ignore", str(ROOT / "tools" / "train.py"), "-c", options.config, "-o"]
        self.command += settings
        self.run_folder = folder / options.config

    def finish(self) -> None:
        """Train without a break."""
        if not self.run(None):
            raise SystemExit(f"the training does not work:\n{self.output}")

    def run(self, moment: float | None, fill: bool = False) -> bool:
        """Train, and break off after so many seconds; whether it ended by itself and well.

        Raises SystemExit where it ended by itself and not well, but for a disk that was filled up.
        """
        with tempfile.TemporaryFile("w+") as heard:
            process = subprocess.Popen(self.command, stdout=heard, stderr=heard, text=True, start_new_session=True)
            filled = False
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                if fill:
                    filled = fill_up(self.folder)
                    process.wait()
                    (self.folder / "filler").unlink()
                else:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            heard.seek(0)
            self.output = heard.read()
        if process.returncode == 2 and filled and "No space left on device" in self.output.splitlines()[-1]:
            return False
        if process.returncode not in (0, -signal.SIGKILL):
            raise SystemExit(f"the training ended with {process.returncode}:\n{self.output[-3000:]}")
        return process.returncode == 0

    def epochs(self) -> int:
        """Epochs that were evaluated, by the table."""
        file = self.run_folder / "results.csv"
        return len(file.read_text("utf-8").splitlines()) - 1 if file.is_file() else 0

    def resumed_at(self) -> float | None:
        """How many epochs the checkpoint had been trained for that the newest command went on from."""
        found = re.search(r"resumed from .*: epoch (\d+), batch (\d+)", self.output)
        return int(found[1]) + int(found[2]) / STEPS if found else None

    def last_heard(self) -> str:
        """What the newest command was doing when it ended, as far as its output tells."""
        lines = [line for line in self.output.splitlines() if "] ppeconv" in line]
        if not lines:
            return "starting"
        return "training" if "[Train]" in lines[-1] else "evaluating" if "[Eval]" in lines[-1] else "preparing"

    def damage(self, draw: np.random.Generator) -> bool:
        """Empty, cut or flip a bit of a file of the newest checkpoint; not where there is no older one, or where a kill
        in the middle of a save left none of that name."""
        file = self.run_folder / f"latest{draw.choice(['.pdparams', '.pdopt', '.pdstates', '.json'])}"
        if not ((self.run_folder / "previous.json").is_file() and file.is_file()):
            return False
        content = bytearray(file.read_bytes())
        kind = draw.choice(["empty", "cut", "flipped"])
        if kind == "flipped":
            content[draw.integers(len(content))] ^= 1 << draw.integers(8)
        file.write_bytes(
            content if kind == "flipped" else content[: draw.integers(len(content)) if kind == "cut" else 0]
        )
        return True

    def digest(self) -> str:
        """SHA-256 of weights, optimizer and table, the times left out."""
        sums = hashlib.sha256()
        for suffix in (".pdparams", ".pdopt"):
            sums.update((self.run_folder / f"latest{suffix}").read_bytes())
        with open(self.run_folder / "results.csv", encoding="utf-8") as file:
            rows = [{**row, "ips": "", "seconds": ""} for row in csv.DictReader(file)]
        return f"sha256 {hashlib.sha256(sums.digest() + repr(rows).encode()).hexdigest()[:16]}, {len(rows)} epochs"


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[None]:
    """A small file system at that place."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill_up(folder: Path) -> bool:
    """Leave a file system too little space for a checkpoint."""
    with open(folder / "filler", "wb") as filler:
        filler.write(bytes(max(0, shutil.disk_usage(folder).free - 2**16)))
    return True


if __name__ == "__main__":
    sys.exit(main())
