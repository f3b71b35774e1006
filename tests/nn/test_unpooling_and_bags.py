"""MaxUnpool, FractionalMaxPool and EmbeddingBag against PyTorch's; hooks of state dicts; buffers by assignment."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import backlit as bl
from backlit import nn

try:
    import torch
except ImportError:
    torch = None
with_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
F, TF = nn.functional, torch and torch.nn.functional
CLOSE = {"rtol": 1e-11, "atol": 1e-12}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def leaf(x):
    return bl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)


def same(out, wanted, *pairs):
    np.testing.assert_allclose(out.detach().numpy(), wanted.detach().numpy(), **CLOSE)
    cotangent = normal(*wanted.shape, seed=5)
    out.backward(cotangent)
    wanted.backward(torch.tensor(cotangent))
    for a, b in pairs:
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), **CLOSE)


@with_torch
@pytest.mark.parametrize("batch", [(2,), ()])
@pytest.mark.parametrize(
    ("n", "shape", "args", "size"),
    [(1, (7,), (2,), None), (1, (8,), (2, 3, 1), (8,)), (2, (6, 5), (2,), (6, 5)), (2, (5, 6), ((2, 2), (2, 3), (1, 0)), (5, 6)), (3, (4, 5, 6), (2,), (4, 5, 6))],
)  # fmt: skip
def test_unpooling(n, shape, args, size, batch):
    x = normal(*batch, 3, *shape)
    mine, its = (
        getattr(F, f"max_pool{n}d")(x, *args, return_indices=True),
        getattr(TF, f"max_pool{n}d")(torch.tensor(x), *args, return_indices=True),
    )
    np.testing.assert_array_equal(mine[1].numpy(), its[1].numpy())
    a, b = leaf(mine[0].numpy().copy())
    out = getattr(nn, f"MaxUnpool{n}d")(*args)(a, mine[1], output_size=size)
    same(out, getattr(torch.nn, f"MaxUnpool{n}d")(*args)(b, its[1], output_size=size), (a, b))
    compiled = bl.compile(lambda a, i: getattr(F, f"max_unpool{n}d")(a, i, *args, output_size=size))
    np.testing.assert_array_equal(compiled(a.detach(), mine[1]).numpy(), out.detach().numpy())


def test_of_two_elements_with_one_place_the_last_counts():
    x, places = bl.tensor([[1.0, 2.0, 3.0]], requires_grad=True), np.array([[1, 1, 0]])
    out = F.max_unpool1d(x, places, 2, 1)
    assert out.tolist() == [[3.0, 2.0, 0.0, 0.0]]
    out.backward(bl.tensor([[5.0, 7.0, 1.0, 1.0]]))
    assert x.grad.tolist() == [[0.0, 7.0, 5.0]]  # PyTorch gives 7 to both


@with_torch
@pytest.mark.parametrize(
    ("n", "shape", "kernel", "how"),
    [(2, (9, 8), 2, {"output_size": (4, 5)}), (2, (7, 7), (3, 2), {"output_ratio": (0.5, 0.5)}), (2, (5, 6), 2, {"output_size": 1}),
     (3, (6, 7, 5), 2, {"output_size": (3, 4, 2)}), (3, (6, 6, 6), (1, 2, 3), {"output_ratio": (0.5, 0.4, 0.6)})],
)  # fmt: skip
@pytest.mark.parametrize("batch", [(2,), ()])
def test_windows_of_random_places(n, shape, kernel, how, batch):
    a, b = leaf(normal(*batch, 3, *shape))
    samples = np.random.default_rng(1).uniform(size=(*(batch or (1,)), 3, n))
    f, tf = getattr(F, f"fractional_max_pool{n}d"), getattr(TF, f"fractional_max_pool{n}d")
    out, places = f(a, kernel, **how, return_indices=True, _random_samples=samples)
    wanted, its = tf(b, kernel, **how, return_indices=True, _random_samples=torch.tensor(samples))
    np.testing.assert_array_equal(places.numpy(), its.numpy())
    same(out, wanted, (a, b))
    layer = getattr(nn, f"FractionalMaxPool{n}d")(kernel, **how)
    bl.random.seed(3)
    drawn = layer(a.detach())
    bl.random.seed(3)
    np.testing.assert_array_equal(bl.compile(lambda x: layer(x))(a.detach()).numpy(), drawn.numpy())
    assert drawn.shape == tuple(wanted.shape)


@with_torch
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 1, -2])
@pytest.mark.parametrize("how", ["rows", "stretches", "last", "weights"])
def test_bags(mode, padding, how):
    a, b = leaf(normal(6, 3))
    if how in ("rows", "weights"):
        numbers, offsets = np.array([[0, 4, 1], [1, 1, 1], [5, 2, 4]]), None
    else:
        numbers, offsets = np.array([0, 4, 1, 1, 1, 5, 2]), np.array([0, 3, 3, 5])
    kwargs = {"mode": mode, "padding_idx": padding}
    if how == "last":
        kwargs["include_last_offset"] = True
        offsets = np.array([0, 3, 3, 7])
    given, pairs = [None, None], [(a, b)]
    if how == "weights":
        if mode != "sum":
            with pytest.raises(ValueError, match="per_sample_weights need mode='sum'"):
                F.embedding_bag(numbers, a, per_sample_weights=normal(3, 3), **kwargs)
            return
        given = leaf(normal(3, 3, seed=1))
        pairs.append(given)
    call = lambda n, w, o, p: F.embedding_bag(n, w, o, per_sample_weights=p, **kwargs)
    out = call(numbers, a, offsets, given[0])
    wanted = TF.embedding_bag(
        torch.tensor(numbers),
        b,
        None if offsets is None else torch.tensor(offsets),
        per_sample_weights=given[1],
        **kwargs,
    )
    same(out, wanted, *pairs)
    compiled = bl.compile(call)(numbers, a.detach(), offsets, None if given[0] is None else given[0].detach())
    np.testing.assert_allclose(compiled.numpy(), out.detach().numpy(), **CLOSE)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_many_examples(mode):
    weight, numbers, offsets = normal(4, 3), np.array([[0, 1, 2, 3], [3, 2, 1, 0]]), np.array([[0, 1, 1], [0, 2, 4]])
    call = lambda n, o: F.embedding_bag(n, weight, o, mode=mode)
    each = np.stack([call(n, o).numpy() for n, o in zip(numbers, offsets, strict=True)])
    np.testing.assert_allclose(bl.vmap(call)(numbers, offsets).numpy(), each, **CLOSE)


@with_torch
def test_bags_as_a_layer():
    ours, theirs = (
        nn.EmbeddingBag(5, 3, mode="sum", padding_idx=1),
        torch.nn.EmbeddingBag(5, 3, mode="sum", padding_idx=1),
    )
    assert not ours.weight.detach().numpy()[1].any() and repr(ours).split("  # ")[0] == repr(theirs)
    theirs.load_state_dict({k: torch.tensor(v.numpy().copy()) for k, v in ours.state_dict().items()})
    numbers, offsets, factors = np.array([1, 2, 4, 3]), np.array([0, 2]), np.ones(4, np.float32) * 2
    out, wanted = ours(numbers, offsets, factors), theirs(*map(torch.tensor, (numbers, offsets, factors)))
    np.testing.assert_allclose(out.detach().numpy(), wanted.detach().numpy(), rtol=1e-6)
    given = nn.EmbeddingBag.from_pretrained(normal(5, 3))
    assert not given.weight.requires_grad and given.mode == "mean" and given(np.array([[0, 1]])).shape == (1, 3)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: F.max_unpool2d(bl.ones((1, 2, 2)), bl.zeros((1, 2, 3), dtype="int64"), 2), bl.ShapeError, "expected integers [1, 2, 2] as indices"),
        (lambda: F.max_unpool1d(bl.ones((1, 2)), bl.zeros((1, 2), dtype="int64"), 2, output_size=(9,)), bl.ShapeError, "an output_size near [4], got [9]"),
        (lambda: F.max_unpool1d(bl.ones((1, 2)), np.array([[0, 9]]), 2), bl.BacklitError, "9"),
        (lambda: F.max_unpool2d(bl.ones(3), bl.ones(3), 2), bl.ShapeError, "max_unpool2d: expected an input"),
        (lambda: F.fractional_max_pool2d(bl.ones((1, 4, 4)), 2), ValueError, "expected one of output_size and output_ratio"),
        (lambda: F.fractional_max_pool2d(bl.ones((1, 4, 4)), 2, 4), bl.ShapeError, "[4, 4] windows of [2, 2] do not fit lengths [4, 4]"),
        (lambda: F.fractional_max_pool2d(bl.ones((1, 4, 4)), 2, output_ratio=1.5), ValueError, "between 0 and 1, got 1.5"),
        (lambda: F.fractional_max_pool2d(bl.ones((1, 4, 4)), 2, 2, _random_samples=bl.ones(3)), bl.ShapeError, "_random_samples [1, 1, 2]"),
        (lambda: nn.FractionalMaxPool2d(2), ValueError, "FractionalMaxPool2d: expected one of"),
        (lambda: nn.FractionalMaxPool2d(2, output_ratio=1), ValueError, "output_ratio must be between 0 and 1, got 1"),
        (lambda: nn.FractionalMaxPool3d(2, output_ratio=2.0), ValueError, "FractionalMaxPool3d: output_ratio"),
        (lambda: F.embedding_bag(np.array([1]), bl.ones((2, 2))), bl.ShapeError, "numbers [bags, n] without offsets, or [total] with them"),
        (lambda: F.embedding_bag(np.array([[1]]), bl.ones((2, 2)), np.array([0])), bl.ShapeError, "without offsets"),
        (lambda: F.embedding_bag(np.array([1]), bl.ones((2, 2)), np.array([0.0])), bl.DTypeError, "expected integers as offsets"),
        (lambda: F.embedding_bag(np.array([1]), bl.ones((2, 2)), np.array([[0]])), bl.ShapeError, "expected offsets [bags]"),
        (lambda: F.embedding_bag(np.array([1, 0]), bl.ones((2, 2)), np.array([1])), ValueError, "offsets that begin at 0"),
        (lambda: F.embedding_bag(np.array([1, 0]), bl.ones((2, 2)), np.array([0, 2, 1])), ValueError, "do not go down"),
        (lambda: F.embedding_bag(np.array([1, 0]), bl.ones((2, 2)), np.array([0, 3])), ValueError, "end at 2 at most, got int64[2] from 0 to 3"),
        (lambda: F.embedding_bag(np.array([[1]]), bl.ones((2, 2)), mode="min"), ValueError, "got 'min'"),
        (lambda: F.embedding_bag(np.array([[1]]), bl.ones((2, 2)), mode="sum", per_sample_weights=bl.ones(3)), bl.ShapeError, "expected weights [1, 1]"),
        (lambda: F.embedding_bag(np.array([[2]]), bl.ones((2, 2))), bl.BacklitError, "2"),
        (lambda: nn.EmbeddingBag(2, 2, mode="min"), ValueError, "EmbeddingBag: mode"),
        (lambda: nn.EmbeddingBag.from_pretrained(bl.ones(3)), bl.ShapeError, "EmbeddingBag.from_pretrained"),
        (lambda: nn.Linear(1, 1).set_submodule("", nn.ReLU()), ValueError, "the name of a module, got ''"),
        (lambda: nn.Sequential().set_submodule("0", nn.ReLU(), strict=True), AttributeError, "has no module '0'"),
    ],
)  # fmt: skip
def test_mistakes(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value)


def test_buffers_by_assignment_and_modules_in_another_place():
    class Counted(nn.Module):
        def __init__(self):
            super().__init__()
            self.count = nn.Buffer(np.zeros(2))
            self.scratch = nn.Buffer([1.0], persistent=False)

    m = Counted()
    assert list(m.state_dict()) == ["count"] and [n for n, _ in m.named_buffers()] == ["count", "scratch"]
    m.count = bl.ones(2)
    other = copy.deepcopy(m)
    other.count = nn.Buffer([5.0])
    other.extra = copy.deepcopy(m.scratch)
    assert m.count.tolist() == [1.0, 1.0] and other.count.tolist() == [5.0] and "extra" in dict(other.named_buffers())
    assert m.type("float64").count.dtype == np.float64
    net = nn.Sequential(nn.Sequential(nn.Linear(1, 1)))
    net.set_submodule("0.0", nn.ReLU(), strict=True)
    net.set_submodule("0.new", nn.Tanh())
    assert [type(x).__name__ for x in net.modules()] == ["Sequential", "Sequential", "ReLU", "Tanh"]


def test_hooks_of_state_dicts():
    m, seen = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1)), []
    m[0].register_state_dict_pre_hook(lambda module, prefix, keep_vars: seen.append((prefix, keep_vars)))
    m[0].register_state_dict_post_hook(lambda module, state, prefix, _: state.pop(f"{prefix}bias"))
    state = m.state_dict(prefix="net.")
    assert list(state) == ["net.0.weight", "net.1.weight", "net.1.bias"] and seen == [("net.0.", False)]

    def renamed(module, state, prefix, *_):
        state[f"{prefix}bias"] = state.pop(f"{prefix}b")

    handle = m[0].register_load_state_dict_pre_hook(renamed)
    m.register_load_state_dict_post_hook(lambda module, names: seen.append(tuple(names)))
    old = {"0.weight": np.ones((1, 2)), "0.b": np.ones(1), "1.weight": np.ones((1, 1)), "1.bias": np.ones(1)}
    m.load_state_dict(old)
    assert m[0].bias.tolist() == [1.0] and "0.b" in old and seen[1:] == [([], [])]
    handle.remove()
    with pytest.raises(ValueError, match=r"missing: 0.bias; unexpected: 0.b"):
        m.load_state_dict(old)
