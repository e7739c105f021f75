"""Starting several processes, and what each of them checks when this file is what is started."""

import os
import subprocess
import sys
import zlib  # noqa: F401  (before Paddle 2.6, as in ppeconv/__init__.py)
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from ppeconv import create_operator
from ppeconv.data.batches import Batches, Pipeline
from ppeconv.data.datasets import Digits
from ppeconv.engine import distributed
from ppeconv.engine.average import WeightAverage
from ppeconv.engine.evaluator import evaluate
from ppeconv.engine.losses import CombinedLoss
from ppeconv.engine.step import Supervised
from ppeconv.engine.trainer import Trainer
from ppeconv.errors import UserError

ROOT = Path(__file__).parents[2]


def python(code, *arguments, **environment):
    """What a fresh interpreter makes of this code, with hardly anything of this one's environment."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )


def launch(program, *arguments, log, options=("--nproc_per_node", "2")):
    """The launcher at work on a program; its output is that of the first process."""
    command = [sys.executable, "-W", "ignore", "-m", "paddle.distributed.launch", *options, "--log_dir", log]
    return subprocess.Popen(
        [*map(str, command), str(program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )


def finish(*launchers):
    """Their outputs, once they have ended well."""
    outputs = [launcher.communicate(timeout=300)[0] for launcher in launchers]
    for launcher, output in zip(launchers, outputs, strict=True):
        assert launcher.returncode == 0, output[-6000:]
    return outputs


def check_sums():
    first = distributed.add_up([distributed.rank(), 2**40 + 1, 0.1])
    np.testing.assert_array_equal(first, [1, 2**41 + 2, 0.2])
    assert distributed.add_up(np.ones((2, 3))).shape == (2, 3)


def check_the_first_speaks_for_all():
    ranks = []
    said = distributed.from_first(lambda: ranks.append(distributed.rank()) or {"rank": distributed.rank()})
    assert said == {"rank": 0}
    assert ranks == ([0] if distributed.is_first() else [])

    def refuse():
        raise UserError(f"no, says {distributed.rank()}")

    with pytest.raises(UserError, match="no, says 0"):
        distributed.from_first(refuse)


def check_all_start_alike():
    paddle.seed(distributed.rank())
    model = nn.Linear(3, 4)
    before = model.weight.numpy()
    distributed.start_alike(model)
    assert_same_everywhere(model)
    assert (model.weight.numpy() == before).all() == distributed.is_first()


def check_gradients_that_not_all_have():
    model = nn.LayerList([nn.Linear(2, 2) for _ in range(3)])
    for layer in model[: 1 if distributed.is_first() else 2]:
        (layer(paddle.ones([1, 2])) * (distributed.rank() + 1)).sum().backward()
    distributed.combine(model)
    np.testing.assert_array_equal(model[0].weight.grad.numpy(), np.full((2, 2), 3))
    np.testing.assert_array_equal(model[1].weight.grad.numpy(), np.full((2, 2), 2))
    assert model[2].weight.grad is None


def check_learned_masks_are_alike():
    """Their proxies are buffers with a gradient, which the layer itself updates."""
    model = create_operator("MaskedVersatileConv", 2, 4, 3, 1, 1)
    distributed.start_alike(model)
    before = model.proxy.numpy()
    images = np.random.default_rng(0).random((4, 2, 5, 5), np.float32)
    half = images[distributed.rank() :: 2]
    (model(paddle.to_tensor(half)).square().sum()).backward()
    distributed.combine(model)
    shared = model.proxy.grad.numpy()
    model.clear_gradients()
    model.proxy.clear_gradient(set_to_zero=False)
    model(paddle.to_tensor(images)).square().sum().backward()
    np.testing.assert_allclose(shared, model.proxy.grad.numpy(), rtol=1e-4, atol=1e-5)
    model.proxy.grad = paddle.to_tensor(shared)
    model.after_step()
    assert_same_everywhere(model)
    np.testing.assert_allclose(model.proxy.numpy(), (before - 0.1 * shared).clip(0, 1), rtol=1e-5, atol=1e-6)


def check_batch_norm_statistics_are_averaged():
    model = nn.Sequential(nn.BatchNorm2D(2, momentum=0.0), nn.BatchNorm2D(2, use_global_stats=True))
    images = paddle.to_tensor(np.random.default_rng(distributed.rank()).random((4, 2, 3, 3), np.float32))
    model(images).sum().backward()
    means = images.numpy().mean((0, 2, 3))
    distributed.combine(model)
    np.testing.assert_allclose(model[0]._mean.numpy(), distributed.add_up(means) / 2, rtol=1e-5)
    np.testing.assert_array_equal(model[1]._mean.numpy(), [0, 0])
    assert_same_everywhere(model)


def check_a_trained_network_is_the_same_everywhere():
    paddle.seed(1)
    model = nn.Sequential(nn.Conv2D(1, 4, 3, 2), nn.BatchNorm2D(4), nn.ReLU(), nn.Flatten(), nn.Linear(676, 10))
    batches = Batches(
        Digits(".", "test"),
        Pipeline([{"Normalize": {"mean": [0.3], "std": [0.3]}}]),
        25,
        rank=distributed.rank(),
        processes=2,
    )
    optimizer = paddle.optimizer.Momentum(
        paddle.optimizer.lr.LambdaDecay(0.05, lambda step: 1.0), parameters=model.parameters()
    )
    loss = CombinedLoss([{"CELoss": {}}])
    average = WeightAverage(model, 0.9)
    trainer = Trainer(
        model,
        optimizer,
        Supervised(loss),
        batches,
        lambda: evaluate(model, batches, loss, [1, 5], 10),
        epochs=2,
        update_freq=2,
        average=average,
    )
    progress = trainer.fit()
    assert trainer.evaluation.confusion.sum() == 360
    assert (progress.epoch, progress.step) == (2, 8)
    assert_same_everywhere(model)
    with average.applied():
        assert_same_everywhere(model)
    assert (distributed.add_up([progress.best_top1]) == 2 * progress.best_top1).all()


def assert_same_everywhere(model):
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(distributed.add_up(value.numpy()), 2 * value.numpy().astype(float), name)


if __name__ == "__main__":
    distributed.join()
    assert distributed.size() == 2
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print(name, "passed")
