"""Whole networks on the fast CPU layers: gradients, bits, memory, processes and real data."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

import ppeconv
from ppeconv import backend
from tests.support.memory import resident_megabytes
from tests.support.precision import LARGEST_ERROR, relative_error
from tests.support.processes import python

pytestmark = pytest.mark.skipif(not backend.available()[0], reason=backend.available()[1])

NETWORKS = {
    "ResNet18": ("ResNet18", {"stem": "cifar"}),
    "MobileNetV2": ("MobileNetV2", {"stem": "cifar"}),
    "VGG16": ("VGG16", {}),
    "VGG16Cifar": ("VGG16Cifar", {}),
    "ResNet20-SPConv": ("ResNet20", {"operator": "SPConv"}),
}

KEEPS_AND_RETURNS = """
import paddle
from ppeconv import backend
from tests.support.memory import resident_megabytes

norm = paddle.nn.BatchNorm2D(16)
with backend.enabled():
    norm(paddle.ones([2, 16, 8, 8]))
before = resident_megabytes()
with backend.enabled():
    norm(paddle.ones([64, 16, 112, 112]))
    print(resident_megabytes() - before)
print(resident_megabytes() - before)
"""


@pytest.fixture(autouse=True)
def _off():
    with backend.disabled():
        yield


def network(name):
    backbone, arguments = NETWORKS[name]
    paddle.seed(4)
    return ppeconv.create_model(backbone, class_num=10, **arguments)


def batch(size, dtype="float32", seed=11):
    draw = np.random.default_rng(seed)
    return paddle.to_tensor(draw.standard_normal((size, 3, 32, 32)).astype(dtype)), paddle.to_tensor(
        draw.integers(0, 10, size)
    )


def without_dropout(net):
    for layer in net.sublayers():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return net


def without_kinks(net):
    """The network with smooth activations and pooling, where rounding cannot tip a value over."""
    for layer in net.sublayers(include_self=True):
        for name, part in layer.named_children():
            if isinstance(part, (nn.ReLU, nn.ReLU6)):
                setattr(layer, name, nn.Softplus())
            elif isinstance(part, nn.MaxPool2D):
                setattr(layer, name, nn.AvgPool2D(2, 2))
    return net


def gradients(net, images, labels):
    F.cross_entropy(net(images), labels).backward()
    found = {name: it.grad.astype("float64").numpy() for name, it in net.named_parameters() if not it.stop_gradient}
    net.clear_gradients()
    return found


def largest_error(net, seed):
    """The largest norm-wise error on a tensor's gradient, relative to float64's."""
    state = {key: value.clone() for key, value in net.state_dict().items()}
    with backend.enabled():
        fast = gradients(net, *batch(8, seed=seed))
    net.set_state_dict(state)
    exact = gradients(net.to(dtype="float64"), *batch(8, "float64", seed))
    net.to(dtype="float32").set_state_dict(state)
    judged = [key for key, it in exact.items() if np.linalg.norm(it) > 1e-6]
    assert len(judged) > 10
    return max(relative_error(fast[key], exact[key]) for key in judged)


@pytest.mark.full
@pytest.mark.parametrize("name", NETWORKS)
def test_whole_network_gradients_against_float64(name):
    """Every layer keeps to `LARGEST_ERROR`; one behind the other they add up."""
    assert largest_error(without_kinks(without_dropout(network(name))), seed=11) <= 10 * LARGEST_ERROR


@pytest.mark.full
@pytest.mark.parametrize("name", NETWORKS)
def test_whole_network_gradients_with_kinks_against_float64(name):
    """One value that rounding tips over a kink outweighs all else a thousandfold, in any float32: hence the median."""
    assert np.median([largest_error(without_dropout(network(name)), seed) for seed in range(7)]) <= 0.05


def trained(name, steps, seed=0):
    paddle.seed(seed)
    backbone, arguments = NETWORKS[name]
    net = ppeconv.create_model(backbone, class_num=10, **arguments)
    optimizer = paddle.optimizer.Momentum(0.05, parameters=net.parameters())
    images, labels = batch(8)
    for _ in range(steps):
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()
    return [value.numpy() for value in net.state_dict().values()]


@pytest.mark.parametrize("name", ["ResNet20-SPConv", pytest.param("MobileNetV2", marks=pytest.mark.full)])
def test_the_same_seed_gives_the_same_bits(name):
    with backend.enabled():
        once, again = trained(name, 3), trained(name, 3)
    assert all(np.array_equal(one, other) for one, other in zip(once, again, strict=True))


def test_freed_memory_stays_until_the_layers_are_off():
    """In a process of its own: what other tests left in the heap decides how much of it can go back."""
    held, at_the_end = map(float, python(KEEPS_AND_RETURNS).stdout.split())
    assert held > 90
    assert at_the_end < 30


@pytest.mark.full
def test_memory_is_flat_over_a_thousand_steps():
    net = nn.Sequential(
        nn.Conv2D(3, 16, 3, padding=1), nn.BatchNorm2D(16), nn.ReLU(), nn.MaxPool2D(2), nn.Conv2D(16, 32, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    optimizer = paddle.optimizer.Momentum(0.01, parameters=net.parameters())
    images, labels = batch(16)
    used = []
    with backend.enabled():
        for step in range(1000):
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
            optimizer.clear_grad()
            if step % 100 == 99:
                used.append(resident_megabytes())
    assert used[-1] <= used[1] + 5


@pytest.mark.full
def test_two_data_parallel_processes_agree(tmp_path):
    script = tmp_path / "parallel.py"
    script.write_text(
        textwrap.dedent(
            """
            import hashlib, numpy as np, paddle, paddle.distributed as dist
            from paddle.nn import functional as F
            import ppeconv
            from ppeconv import backend

            print(backend.select("onednn"))
            dist.init_parallel_env()
            paddle.seed(1)
            net = paddle.DataParallel(ppeconv.create_model("ResNet20", class_num=10))
            optimizer = paddle.optimizer.Momentum(0.05, parameters=net.parameters())
            draw = np.random.default_rng(dist.get_rank())
            for _ in range(3):
                images = paddle.to_tensor(draw.standard_normal((4, 3, 32, 32)).astype("float32"))
                F.cross_entropy(net(images), paddle.to_tensor(draw.integers(0, 10, 4))).backward()
                optimizer.step()
                optimizer.clear_grad()
            weights = b"".join(it.numpy().tobytes() for it in net.parameters() if not it.stop_gradient)
            print("digest", hashlib.sha256(weights).hexdigest())
            """
        )
    )
    command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "logs"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*command, str(script)], cwd=tmp_path, env=environment, timeout=300, check=True)
    logs = [(tmp_path / "logs" / f"workerlog.{rank}").read_text() for rank in (0, 1)]
    digests = [line for log in logs for line in log.splitlines() if line.startswith("digest")]
    assert len(digests) == 2
    assert digests[0] == digests[1]


def cifar_batches(root, count, size=128):
    data = paddle.vision.datasets.Cifar10(str(root / "cifar-10-python.tar.gz"), mode="train", backend="cv2")
    for start in range(0, count * size, size):
        pictures, labels = zip(*(data[index] for index in range(start, start + size)), strict=True)
        images = np.stack([np.asarray(it, "float32").transpose(2, 0, 1) / 127.5 - 1 for it in pictures])
        yield paddle.to_tensor(images), paddle.to_tensor(np.asarray(labels).reshape(-1).astype("int64"))


def losses(batches):
    """The loss of each step, at a rate so low that rounding differences do not double at every step."""
    paddle.seed(9)
    net = ppeconv.create_model("ResNet20", class_num=10)
    optimizer = paddle.optimizer.Momentum(0.001, parameters=net.parameters(), weight_decay=5e-4)
    seen = []
    for images, labels in batches:
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        seen.append(float(loss))
    return np.asarray(seen)


@pytest.mark.full
def test_the_loss_on_cifar10_follows_stock_paddle(data_root):
    batches = list(cifar_batches(data_root, 20))
    expected = losses(batches)
    with backend.enabled():
        found = losses(batches)
    assert np.max(np.abs(found - expected) / expected) < 1e-3
