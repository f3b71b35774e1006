"""Modules: registration, names, state, layers."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.core.errors import DataError


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.scale = nn.Parameter([1.0, 2.0])
        self.register_buffer("count", bl.tensor(0))
        self.register_buffer("scratch", bl.tensor([0.0]), persistent=False)
        self.inner = nn.Sequential(nn.Linear(4, 2), nn.ReLU())

    def forward(self, x):
        return self.inner(bl.tanh(self.first(x))) * self.scale


def test_names_and_order():
    m = Block()
    assert [n for n, _ in m.named_parameters()] == [
        "scale", "first.weight", "first.bias", "inner.0.weight", "inner.0.bias",
    ]  # fmt: skip
    assert [n for n, _ in m.named_buffers()] == ["count", "scratch"]
    assert [n for n, _ in m.named_modules()] == ["", "first", "inner", "inner.0", "inner.1"]
    assert sum(p.size for p in m.parameters()) == 2 + 16 + 10
    assert m(np.ones((5, 3), np.float32)).shape == (5, 2)
    assert "Linear(in_features=3, out_features=4, bias=True)" in repr(m) and "28 parameters" in repr(m)
    with pytest.raises(AttributeError, match="nothing"):
        _ = m.nothing


def test_state_dict_round_trip_and_errors(tmp_path):
    m, other = Block(), Block()
    state = m.state_dict()
    assert set(state) == {n for n, _ in m.named_parameters()} | {"count"}
    bl.save(state, tmp_path / "m.safetensors")
    other.load_state_dict(bl.load(tmp_path / "m.safetensors"))
    x = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(m(x).detach().numpy(), other(x).detach().numpy())
    before = other.state_dict()
    broken = {**state, "first.weight": np.zeros((2, 2)), "extra": np.zeros(1)}
    del broken["scale"]
    with pytest.raises(
        DataError, match=r"missing: scale.*unexpected: extra.*first.weight \(expected \[4, 3\], got \[2, 2\]\)"
    ):
        other.load_state_dict(broken)
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name].numpy())
    del broken["first.weight"]
    skipped = other.load_state_dict(broken, strict=False)
    assert skipped.missing == ["scale", "first.weight"] and skipped.unexpected == ["extra"]


def test_a_state_keeps_the_values_of_its_moment():
    m = nn.Linear(2, 1)
    state = m.state_dict()
    held = state["weight"].numpy().copy()
    m(np.ones((1, 2), np.float32)).sum().backward()
    bl.optim.SGD(m.parameters(), lr=1.0).step()
    np.testing.assert_array_equal(state["weight"].numpy(), held)
    assert not np.array_equal(m.weight.detach().numpy(), held)


def test_shared_parameters_are_one():
    m = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    m[1].weight = m[0].weight
    assert len(list(m.parameters())) == 3 and set(m.state_dict()) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    x = np.ones((1, 2), np.float32)
    g = bl.grad(lambda m: m(x).sum())(m)
    m(x).sum().backward()
    np.testing.assert_allclose(g[0].weight.detach().numpy(), m[0].weight.grad.numpy(), rtol=1e-6)


def test_modes_and_marks():
    m = Block()
    assert m.training and not m.eval().inner.training and m.train().inner[0].training
    m.requires_grad_(False)
    assert not any(p.requires_grad for p in m.parameters())
    m.requires_grad_()
    m(np.ones((1, 3), np.float32)).sum().backward()
    assert m.scale.grad is not None
    m.zero_grad()
    assert all(p.grad is None for p in m.parameters())
    seen = []
    m.apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Linear", "Linear", "ReLU", "Sequential", "Block"]


def test_copies_are_independent():
    m = Block()
    other = copy.deepcopy(m)
    with bl.no_grad():
        other.scale += 1.0
    assert m.scale.tolist() == [1.0, 2.0] and other.scale.tolist() == [2.0, 3.0]
    assert type(other.scale) is nn.Parameter and other.scale.requires_grad


def test_assignment_mistakes():
    class Early(nn.Module):
        def __init__(self):
            self.w = nn.Parameter([1.0])

    with pytest.raises(AttributeError, match="super"):
        Early()
    m = Block()
    with pytest.raises(TypeError, match="scale.*Parameter"):
        m.scale = bl.tensor([1.0, 2.0])
    m.scale = None
    assert "scale" not in dict(m.named_parameters())
    with pytest.raises(TypeError, match="Sequential"):
        nn.Sequential(nn.ReLU(), 3)


@pytest.mark.parametrize("n_in, n_out", [(7, 3), (1, 1), (4, 0)])
def test_linear_starts_in_range_and_repeats_with_a_seed(n_in, n_out):
    a, b = (nn.Linear(n_in, n_out, generator=bl.Generator(5)) for _ in range(2))
    assert a.weight.shape == (n_out, n_in) and a.bias.shape == (n_out,)
    np.testing.assert_array_equal(a.weight.detach().numpy(), b.weight.detach().numpy())
    assert (np.abs(a.weight.detach().numpy()) <= 1 / np.sqrt(n_in)).all()
    wide = nn.Linear(100, 1000, generator=bl.Generator(0)).weight.detach().numpy()
    assert abs(wide.mean()) < 1e-3 and abs(wide.std() - 0.1 / np.sqrt(3)) < 1e-3


def test_layers_give_what_their_functions_give():
    x = np.linspace(-2, 2, 6, dtype=np.float32).reshape(2, 3)
    for layer, f in ((nn.ReLU(), nn.functional.relu), (nn.Tanh(), bl.tanh), (nn.Sigmoid(), nn.functional.sigmoid),
                     (nn.GELU("tanh"), lambda x: nn.functional.gelu(x, approximate="tanh"))):  # fmt: skip
        np.testing.assert_array_equal(layer(x).numpy(), f(x).numpy())
    plain = nn.Linear(3, 2, bias=False)
    assert plain.bias is None and set(plain.state_dict()) == {"weight"}
    np.testing.assert_allclose(plain(x).detach().numpy(), x @ plain.weight.detach().numpy().T, rtol=1e-6)
    with pytest.raises(bl.ShapeError, match=r"float32\[2, 3\]"):
        nn.Linear(2, 2)(x)
    with pytest.raises(ValueError, match="sine"):
        nn.GELU("sine")


def test_parts_by_their_names():
    m = Block()
    assert m.get_submodule("inner.0") is m.inner[0] and m.get_submodule("") is m
    assert m.get_parameter("inner.0.weight") is m.inner[0].weight and m.get_buffer("count") is m.count
    with pytest.raises(
        AttributeError, match=r"Block has no module 'inner.7'; there are first, inner, inner.0, inner.1"
    ):
        m.get_submodule("inner.7")
    with pytest.raises(AttributeError, match=r"Block has no parameter 'inner.0.w'; there are scale, first.weight"):
        m.get_parameter("inner.0.w")
    with pytest.raises(AttributeError, match=r"Block has no buffer 'scale'; there are count, scratch"):
        m.get_buffer("scale")
    with pytest.raises(TypeError, match=r"register_module: expected a Module for 'x', got int"):
        m.register_module("x", 3)
    m.add_module("extra", nn.Linear(1, 1))
    assert [n for n, _ in m.named_children()] == ["first", "inner", "extra"]


def test_what_is_shared_is_named_once_or_at_every_place():
    m = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    m[2].weight = m[0].weight
    m.append(m[1])
    assert [n for n, _ in m.named_modules()] == ["", "0", "1", "2"]
    assert [n for n, _ in m.named_modules(remove_duplicate=False)] == ["", "0", "1", "2", "3"]
    assert [n for n, _ in m.named_parameters(remove_duplicate=False)] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    memo = {m[0]}
    assert [n for n, _ in m.named_modules(memo, prefix="net")] == ["net", "net.1", "net.2"] and len(memo) == 4


@pytest.mark.parametrize("convert", ["double", "half", "bfloat16", "float"])
def test_dtypes_of_a_module(convert):
    m = Block()
    m(np.ones((2, 3), np.float32)).sum().backward()
    before, grads = dict(m.named_parameters()), {n: p.grad.numpy() for n, p in m.named_parameters()}
    assert getattr(m, convert)() is m
    wanted = {"double": "float64", "half": "float16", "bfloat16": "bfloat16", "float": "float32"}[convert]
    for name, p in m.named_parameters():
        assert p is before[name] and p.dtype == p.grad.dtype == wanted and p.requires_grad and p.is_leaf
        np.testing.assert_allclose(p.grad.numpy().astype(np.float32), grads[name], rtol=1e-2)
    assert m.count.dtype == np.int64 and m.scratch.dtype == wanted
    m.zero_grad()
    x = np.ones((2, 3), np.float32).astype(m.scale.dtype)
    m(x).sum().backward()
    assert m.scale.grad.dtype == wanted
    m.zero_grad(set_to_none=False)
    assert m.scale.grad.dtype == wanted and not m.scale.grad.numpy().any()


def test_ways_to_say_a_dtype_and_mistakes():
    m = nn.Linear(2, 2)
    for ask in (lambda: m.to("float64"), lambda: m.to(bl.float32), lambda: m.to(dtype=np.float64), lambda: m.to(bl.ones(1)),
                lambda: m.to("cpu", "float64"), lambda: m.to("cpu")):  # fmt: skip
        assert ask() is m
    assert m.weight.dtype == np.float64
    compiled = bl.compile(lambda x: m(x).sum())
    assert compiled(bl.ones((1, 2), dtype="float64")).dtype == np.float64
    m.float()
    assert compiled(bl.ones((1, 2))).dtype == np.float32
    with pytest.raises(bl.DTypeError, match=r"Linear.to: expected a dtype of floats, got int32"):
        m.to("int32")
    with pytest.raises(bl.BacklitError, match=r"Linear.to: the one device is 'cpu', got 'cuda:0'"):
        m.to("cuda:0")
    with pytest.raises(bl.BacklitError, match="Linear.to: 'fast' is no dtype"):
        m.to("fast")


def test_state_taken_over_and_names_behind_a_prefix():
    m = nn.Linear(2, 3)
    weight = m.weight
    state = {"weight": np.ones((3, 2)), "bias": np.zeros(3)}
    m.load_state_dict(state, assign=True)
    assert (
        m.weight is weight and weight.dtype == np.float64 and weight._value is state["weight"] and weight.requires_grad
    )
    m(np.ones((1, 2))).sum().backward()
    with pytest.raises(DataError, match=r"trained, but no floats: weight \(int64\)"):
        m.load_state_dict({**state, "weight": np.ones((3, 2), np.int64)}, assign=True)
    with pytest.raises(TypeError, match=r"load_state_dict: Linear: expected a mapping from names to arrays, got str"):
        m.load_state_dict("weights.safetensors")
    assert list(m.state_dict(prefix="a.")) == ["a.weight", "a.bias"]
    assert m.state_dict(keep_vars=True)["weight"] is weight
    m.load_state_dict(m.state_dict(keep_vars=True))


def test_pickles():
    view = bl.ones((3, 2))[:2]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(view)).numpy(), view.numpy())
    layer = nn.Linear(3, 2)
    layer.twin = layer.weight
    layer(bl.ones((1, 3))).sum().backward()
    found = pickle.loads(pickle.dumps(layer))
    assert isinstance(found.weight, nn.Parameter) and found.weight.requires_grad and found.twin is found.weight
    np.testing.assert_array_equal(found.weight.detach().numpy(), layer.weight.detach().numpy())
    np.testing.assert_array_equal(found.bias.grad.numpy(), layer.bias.grad.numpy())
    found(bl.ones((1, 3))).sum().backward()
    np.testing.assert_array_equal(found.bias.grad.numpy(), 2 * layer.bias.grad.numpy())
    with pytest.raises(bl.GradientError, match="pickle: .* is part of a recorded graph; pickle .detach"):
        pickle.dumps(layer(bl.ones((1, 3))))


def test_a_class_that_forgets_super_is_told_so():
    class Forgets(nn.Module):
        def __init__(self):
            pass

        def forward(self, x):
            return x * self.scale

    layer = nn.Linear(1, 1)
    for hooked in (False, True):  # once there has been a hook a call looks for some
        if hooked:
            layer.register_forward_hook(lambda *_: None).remove()
        for use in (
            lambda: Forgets()(bl.ones(1)),
            lambda: Forgets().state_dict(),
            lambda: Forgets().register_forward_hook(lambda *_: None),
        ):
            with pytest.raises(AttributeError) as caught:
                use()
            assert str(caught.value) == "Forgets: call super().__init__() first in its __init__"


def test_the_tree_that_is_shown():
    block = lambda: nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    m = nn.ModuleDict({"blocks": nn.Sequential(block(), block(), block(), nn.Linear(2, 3)), "head": nn.Linear(2, 3)})
    m["head"].weight = m["blocks"][3].weight
    m["blocks"][0][0].requires_grad_(False)
    assert (
        repr(m)
        == """\
ModuleDict(  # 30 parameters (6 frozen)
  (blocks): Sequential(  # 27 parameters (6 frozen)
    (0): Sequential(  # 6 parameters (frozen)
      (0): Linear(in_features=2, out_features=2, bias=True)  # weight [2, 2], bias [2]: 6 parameters (frozen)
      (1): ReLU()
    )
    (1-2): 2 x Sequential(  # 6 parameters
      (0): Linear(in_features=2, out_features=2, bias=True)  # weight [2, 2], bias [2]: 6 parameters
      (1): ReLU()
    )
    (3): Linear(in_features=2, out_features=3, bias=True)  # weight [3, 2], bias [3]: 9 parameters
  )
  (head): Linear(in_features=2, out_features=3, bias=True)  # weight [3, 2], bias [3]: 9 parameters
)"""
    )


def test_lists_and_dictionaries_of_parameters():
    a, b = nn.Parameter([1.0]), nn.Parameter([[2.0, 3.0]])
    many = nn.ParameterList([a, np.ones(2, np.float32)])
    assert many.append(b) is many and len(many) == 3 and many[0] is a and many[-1] is b and list(many[1:])[1] is b
    assert type(many[1]) is nn.Parameter and list(many.state_dict()) == ["0", "1", "2"]
    many[1] = b
    assert many.pop(0) is a and list(many) == [b, b] and len(list(many.parameters())) == 1
    many += [a]
    with pytest.raises(TypeError, match="ParameterList: expected parameters or arrays, got str at 3"):
        many.append("x")
    assert len(many) == 3
    named = nn.ParameterDict({"a": a})
    named["b"] = bl.ones(2)
    named.update([("c", b)])
    assert list(named) == ["a", "b", "c"] and "b" in named and named.get("x") is None and named.setdefault("a", b) is a
    assert named["b"].requires_grad and dict(named.items())["c"] is b and [*named.keys()] == list(named)
    assert named.pop("b").shape == (2,) and [*named.values()] == [a, b]
    with pytest.raises(TypeError, match="ParameterDict: expected parameters or arrays, got int at 'x'"):
        named["x"] = 3
    with pytest.raises(KeyError):
        del named["x"]
    found = bl.grad(lambda m: (m["a"] * m["c"]).sum())(named)
    assert found["c"].tolist() == [[1.0, 1.0]]
    named.clear()
    assert len(named) == 0


def test_a_sequence_is_a_list_of_its_modules():
    a, b, c = nn.Linear(1, 1), nn.Tanh(), nn.ReLU()
    m = nn.Sequential(a, b)
    assert m.insert(1, c) is m and list(m) == [a, c, b] and [n for n, _ in m.named_children()] == ["0", "1", "2"]
    assert m.pop(1) is c and list(m + [c]) == [a, b, c] and len(m) == 2
    m += [c]
    del m[0]
    assert list(m) == [b, c] and list(m.extend([a])) == [b, c, a] and not m.pop(slice(0, 2)).state_dict()
    assert list(m) == [a] and list(m.state_dict()) == ["0.weight", "0.bias"]
    with pytest.raises(TypeError, match="Sequential: expected modules, got int"):
        m.insert(0, 3)
    assert list(m) == [a]


def test_layers_that_move_shapes_take_numpy_arrays():
    x = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    assert nn.Flatten()(x).tolist() == x.reshape(2, 12).tolist()
    assert nn.Unflatten(1, (3, 1))(x).tolist() == x.reshape(2, 3, 1, 4).tolist()
