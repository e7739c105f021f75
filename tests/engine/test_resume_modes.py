"""What a run was cut into, and by how many workers, is not seen in it: in every mode of training."""

import pytest

from ppeconv.engine import checkpoint
from tests.engine.test_resume import assert_equal, rows
from tests.support.runs import skip_without_bf16, trained_run

WORKERS = (0, 1, 2)
"""Of the three parts that a run is cut into."""
STEPS = 6
QUIET = ["Global.use_visualdl=false", "Global.ema=0.9", "DataLoader.Train.sampler.batch_size=16"]
MASKS = "{name: MaskedVersatileConv, secondaries: 2, ortho: 0.01}"
MIXTURES = "DataLoader.Train.dataset.batch_transform_ops=[{Mixup: {}}, {CutMix: {}}]"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return trained_run(tmp_path_factory.mktemp("teacher"), *QUIET, "Global.max_steps=3").path


def settings_of(mode, teacher):
    return {
        "layers of Paddle": ["Global.cpu_backend=paddle"],
        "fast layers": ["Global.cpu_backend=onednn"],
        "fast layers in bf16": ["Global.cpu_backend=onednn", "AMP.use_amp=true"],
        "learned masks": [f"Operator={MASKS}"],
        "a teacher": [f"Loss.Train=[{{CELoss: {{weight: 0.5}}}}, {{DistillLoss: {{teacher: {teacher}}}}}]"],
        "mixtures of images": [MIXTURES],
        "several batches an update": ["Global.update_freq=2", MIXTURES],
        "random widths": ["Operator=null", "AnyWidth={kind: usnet, sampling: n-random, samples: 2, distill: true}"],
        "momentum": ["Optimizer={name: Momentum, lr: {name: Cosine, learning_rate: 0.1}}"],
    }[mode]


@pytest.mark.parametrize(
    "mode",
    [
        "layers of Paddle",
        "learned masks",
        "a teacher",
        *(
            pytest.param(mode, marks=pytest.mark.full)
            for mode in (
                "fast layers",
                "fast layers in bf16",
                "mixtures of images",
                "several batches an update",
                "random widths",
            )
        ),
        pytest.param("momentum", marks=pytest.mark.full),
    ],
)
def test_a_run_in_parts_equals_the_whole(mode, teacher, tmp_path):
    if "bf16" in mode:
        skip_without_bf16()
    settings = [*QUIET, *settings_of(mode, teacher)]
    whole = trained_run(tmp_path / "whole", *settings, f"Global.max_steps={STEPS}")
    for part, workers in enumerate(WORKERS, 1):
        cut = trained_run(
            tmp_path / "cut",
            *settings,
            f"Global.max_steps={part * STEPS // len(WORKERS)}",
            f"DataLoader.Train.loader.num_workers={workers}",
            "Global.checkpoints=auto",
        )
    for suffix in (".pdparams", ".pdopt", ".pdstates"):
        one, other = (read(run, suffix) for run in (cut, whole))
        assert_equal(one, other, suffix)
    assert rows(cut)[-1]["train_loss"] == rows(whole)[-1]["train_loss"]


def read(run, suffix):
    """A part of the checkpoint, without times and what evaluations at the ends of the parts have told."""
    content = checkpoint.read(run.path / f"latest{suffix}")
    if suffix != ".pdstates":
        return content
    told = ("seconds", "best_top1", "best_epoch", "evaluations_since_best")
    progress = {name: value for name, value in content["progress"].items() if name not in told}
    return {"progress": progress, "average": content["average"]}
