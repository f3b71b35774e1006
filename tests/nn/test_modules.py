"""Modules: registration, names, state, layers."""

from __future__ import annotations

import copy

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
