"""Turning the fast CPU layers on and off, choosing them, and what must not notice them."""

from __future__ import annotations

import multiprocessing
import sys
import threading

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

from ppeconv import UserError, backend
from ppeconv.cpu.library import openmp
from ppeconv.cpu.training import dispatch, layout, selection

works = pytest.mark.skipif(not backend.available()[0], reason=backend.available()[1])


def functions():
    return [getattr(owner, name) for owner, name, _ in dispatch._STAND_INS]


@pytest.fixture(autouse=True)
def _off(monkeypatch):
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    with backend.disabled():
        yield


@pytest.fixture
def image():
    return paddle.to_tensor(np.random.default_rng(3).standard_normal((2, 3, 8, 8)).astype("float32"))


def small_net():
    paddle.seed(5)
    return nn.Sequential(
        nn.Conv2D(3, 16, 3, padding=1), nn.BatchNorm2D(16), nn.ReLU(), nn.MaxPool2D(2), nn.Conv2D(16, 8, 1)
    )


def test_importing_changes_nothing():
    assert not backend.is_enabled()


@works
def test_everything_is_put_back():
    before = functions()
    backend.enable()
    backend.enable()
    assert all(now is not then for now, then in zip(functions(), before, strict=True))
    backend.disable()
    backend.disable()
    assert all(now is then for now, then in zip(functions(), before, strict=True))


@works
def test_threads_that_turn_it_on_and_off_at_once():
    before, raised, start = functions(), [], threading.Barrier(8)

    def switch():
        start.wait()
        try:
            for _ in range(30):
                backend.enable()
                backend.disable()
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=switch) for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not raised
    assert all(now is then for now, then in zip(functions(), before, strict=True))


@works
def test_contexts_nest_and_survive_exceptions():
    with backend.enabled():
        with backend.disabled():
            assert not backend.is_enabled()
        assert backend.is_enabled()
        with pytest.raises(KeyError), backend.disabled():
            raise KeyError
        assert backend.is_enabled()
    assert not backend.is_enabled()


@works
def test_precedence_is_configuration_then_environment_then_auto(monkeypatch):
    monkeypatch.setenv(selection.VARIABLE, "paddle")
    assert backend.select("onednn").startswith("onednn:")
    assert backend.is_enabled()
    assert backend.select("auto").startswith("paddle:")
    assert not backend.is_enabled()
    monkeypatch.delenv(selection.VARIABLE)
    assert backend.select(None).startswith("onednn: oneDNN")


def test_never_on_another_device():
    assert backend.select("onednn", "gpu:0").startswith("paddle:")
    assert not backend.is_enabled()


@pytest.mark.parametrize("source", ["configuration", "variable"])
def test_an_unknown_choice_is_a_sentence(monkeypatch, source):
    monkeypatch.setenv(selection.VARIABLE, "mkl" if source == "variable" else "auto")
    with pytest.raises(UserError, match=rf"{source}.*'mkl'.*auto, onednn, paddle"):
        backend.select("mkl" if source == "configuration" else "auto")


@pytest.fixture
def fresh_verdict():
    selection.examine.cache_clear()
    yield
    selection.examine.cache_clear()


def test_another_kind_of_cpu(monkeypatch, fresh_verdict):
    monkeypatch.setattr(selection.platform, "machine", lambda: "aarch64")
    assert backend.select("auto") == "paddle: the fast layers need an x86-64 CPU and this is aarch64"
    with pytest.raises(UserError, match="onednn, but the fast layers need"):
        backend.select("onednn")


@works
def test_a_library_of_another_version_is_left_alone_unless_asked_for(monkeypatch, fresh_verdict):
    monkeypatch.setattr(selection, "PROVEN_VERSIONS", {(1, 0, 0)})
    assert "not among the versions proven" in backend.select("auto")
    assert not backend.is_enabled()
    assert backend.select("onednn").startswith("onednn:")


@works
def test_a_failed_self_check_means_stock_paddle(monkeypatch, fresh_verdict):
    monkeypatch.setattr(selection, "_largest_difference", lambda: float("nan"))
    assert "self-check" in backend.select("auto")
    with pytest.raises(UserError, match="self-check"):
        backend.select("onednn")


@works
def test_the_self_check_leaves_the_random_state_alone(fresh_verdict):
    paddle.seed(1)
    expected = paddle.rand([3]).numpy()
    paddle.seed(1)
    selection.examine()
    assert np.array_equal(paddle.rand([3]).numpy(), expected)


@works
def test_no_grad_and_eval_mode_give_paddles_results(image):
    net = small_net()
    net.eval()
    with paddle.no_grad():
        expected = net(image).numpy()
        with backend.enabled():
            found = net(image)
            assert np.allclose(found.numpy(), expected, atol=1e-5)
            assert layout.remembered_rows(found) is not None
    with backend.enabled():
        assert np.allclose(net(image).numpy(), expected, atol=1e-5)


@works
@pytest.mark.parametrize("full_graph", [True, False])
def test_to_static_and_export(image, tmp_path, full_graph):
    net = small_net()
    net.eval()
    with paddle.no_grad():
        expected = net(image).numpy()
    with backend.enabled():
        spec = [paddle.static.InputSpec([None, 3, 8, 8], "float32", "image")]
        static = paddle.jit.to_static(net, input_spec=spec, full_graph=full_graph)
        with paddle.no_grad():
            assert np.allclose(static(image).numpy(), expected, atol=1e-5)
        if full_graph:
            paddle.jit.save(static, str(tmp_path / "net"))
            loaded = paddle.jit.load(str(tmp_path / "net"))
            assert np.allclose(loaded(image).numpy(), expected, atol=1e-5)


@works
def test_training_a_static_network(image):
    def gradient(net):
        net(image).square().sum().backward()
        return net.parameters()[0].grad.numpy()

    expected = gradient(paddle.jit.to_static(small_net(), full_graph=True))
    with backend.enabled():
        found = gradient(paddle.jit.to_static(small_net(), full_graph=True))
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-3)


@works
def test_a_shared_layer_and_two_networks_alive(image):
    def gradients():
        shared, other = nn.Conv2D(3, 3, 3, padding=1), small_net()
        once = shared(image)
        (other(shared(once)) * small_net()(once)).sum().backward()
        return [it.grad.numpy() for it in (shared.weight, shared.bias, other[0].weight)]

    paddle.seed(2)
    expected = gradients()
    paddle.seed(2)
    with backend.enabled():
        found = gradients()
    for ours, theirs in zip(found, expected, strict=True):
        assert np.linalg.norm(ours - theirs) <= 1e-4 * np.linalg.norm(theirs)


@works
def test_an_exception_in_the_middle_of_a_step_leaves_no_trace(image):
    net = small_net()

    def step():
        net(image).square().mean().backward()
        gradient = net[0].weight.grad.numpy()
        net.clear_gradients()
        return gradient

    with backend.enabled():
        expected = step()
        with pytest.raises(ValueError, match="channel"):
            net[4](net(image))
        assert np.array_equal(step(), expected)


@works
def test_hooks_and_gradients_of_activations(image):
    def observed():
        net, seen = small_net(), []
        y = net[0](image)
        y.register_hook(lambda gradient: seen.append(gradient.numpy()) or gradient * 2)
        kept = F.relu(y)
        kept.retain_grads()
        z = net[4](kept)
        z.square().sum().backward()
        late = net[0](image)
        w = net[4](F.relu(late))
        late.register_hook(lambda gradient: seen.append(gradient.numpy()))
        w.square().sum().backward()
        again = net[0](image)
        asked = paddle.grad(net[4](F.relu(again)).square().sum(), [again, net[4].weight])
        return [*seen, kept.grad.numpy(), net[0].weight.grad.numpy(), *(it.numpy() for it in asked)]

    expected = observed()
    with backend.enabled():
        found = observed()
    for ours, theirs in zip(found, expected, strict=True):
        assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)


@works
def test_what_cannot_be_done_is_said(image):
    net = small_net()
    with backend.enabled():
        y = net[0](image)
        F.relu(y)
        with pytest.raises(UserError, match="right after the tensor is made"):
            y.retain_grads()
        with pytest.raises(UserError, match="cannot keep the graph"):
            net(image).sum().backward(retain_graph=True)
        with pytest.raises(UserError, match="no second derivatives"):
            paddle.grad(net(image).square().sum(), net[0].weight, create_graph=True)
        z = paddle.to_tensor(3.0, stop_gradient=False)
        (slope,) = paddle.grad(z**3, z, create_graph=True)
        assert paddle.grad(slope, z)[0].item() == 18


def _train_in_a_child(queue):
    image = paddle.ones([2, 3, 8, 8])
    net = small_net()
    net(image).sum().backward()
    queue.put(float(net[0].weight.grad.abs().sum()))


@works
def test_a_forked_process_can_train():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with backend.enabled():
        _train_in_a_child(queue)
        expected = queue.get(timeout=20)
        child = context.Process(target=_train_in_a_child, args=(queue,))
        child.start()
        assert queue.get(timeout=30) == pytest.approx(expected, rel=1e-5)
        child.join(10)


@works
def test_threads_do_not_disturb_each_other(image):
    net = small_net()
    found = []

    def work():
        for _ in range(5):
            x = image.clone()
            x.stop_gradient = False
            F.max_pool2d(F.conv2d(x, net[0].weight.detach()), 2).square().sum().backward()
            found.append(x.grad.numpy())

    with backend.enabled():
        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(found) == 15
    assert all(np.array_equal(it, found[0]) for it in found)


@works
def test_a_thread_can_use_what_another_built():
    """This weight gradient needs scratch memory, which must not be that of the thread that built the primitive."""
    layer, found = nn.Conv2D(32, 64, 3, stride=2, padding=2, dilation=2), []

    def work():
        x = paddle.ones([8, 32, 16, 16])
        x.stop_gradient = False
        with openmp.using_threads(2):
            layer(x).square().sum().backward()
        found.append([it.grad.numpy() for it in (x, layer.weight)])
        layer.clear_gradients()

    with backend.enabled():
        work()
        other = threading.Thread(target=work)
        other.start()
        other.join()
    for mine, others in zip(*found, strict=True):
        np.testing.assert_array_equal(mine, others)


@works
def test_nothing_is_remembered_of_a_finished_step():
    net, images = small_net(), paddle.ones([8, 3, 32, 32])
    notes = (layout._rows_of, layout._facts_of)
    with backend.enabled():
        for _ in range(3):
            y = net[:3](images)
            (F.relu(y + y[:, ::1]) + F.relu(net[1](net[0](images)))).sum().backward()
            del y
    assert sum(len(it.tensors()) for it in notes) <= 1
