"""Parameters computed from others, against PyTorch's: names, values, gradients, assignment, removal, compiled."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.nn.utils import parametrizations, parametrize

torch = pytest.importorskip("torch")
theirs = torch.nn.utils.parametrizations
LAYERS = [("Linear", (3, 4), (5, 3)), ("Conv2d", (2, 3, 2), (2, 2, 4, 4)), ("ConvTranspose1d", (2, 3, 2), (2, 2, 4))]


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT

    def right_inverse(self, x):
        return x.triu()


class Scaled(nn.Module):
    def forward(self, x):
        return x * 2.0


def pair(name, args, shape, wrap, **kwargs):
    ours, its = getattr(nn, name)(*args, dtype=np.float64), getattr(torch.nn, name)(*args).double()
    assert getattr(parametrizations, wrap)(ours, **kwargs) is ours
    getattr(theirs, wrap)(its, **kwargs)
    listed = lambda state: [(k, tuple(v.shape)) for k, v in state.items()]
    assert listed(ours.state_dict()) == listed(its.state_dict())
    its.load_state_dict({k: torch.tensor(v.numpy().copy()) for k, v in ours.state_dict().items()})
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in its.named_parameters()]
    assert type(ours).__name__ == type(its).__name__ and isinstance(ours, getattr(nn, name))
    x = np.random.default_rng(0).standard_normal(shape)
    return ours, its, bl.tensor(x), torch.tensor(x)


@pytest.mark.parametrize(("name", "args", "shape"), LAYERS)
@pytest.mark.parametrize(("wrap", "kwargs"), [("weight_norm", {}), ("weight_norm", {"dim": 1}), ("weight_norm", {"dim": None}),
                                              ("spectral_norm", {}), ("spectral_norm", {"n_power_iterations": 3, "dim": 1})])  # fmt: skip
def test_values_and_gradients_are_pytorchs(name, args, shape, wrap, kwargs):
    ours, its, x, y = pair(name, args, shape, wrap, **kwargs)
    for training in (True, True, False):
        ours.train(training)
        its.train(training)
        ours.zero_grad()
        its.zero_grad()
        out, wanted = ours(x), its(y)
        np.testing.assert_allclose(out.detach().numpy(), wanted.detach().numpy(), rtol=1e-10, atol=1e-12)
        (out**3).sum().backward()
        (wanted**3).sum().backward()
        for a, b in zip(ours.parameters(), its.parameters(), strict=True):
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-11)
        for (k, a), b in zip(ours.named_buffers(), its.buffers(), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, err_msg=k)


def test_a_compiled_step_trains_it():
    bl.random.seed(0)
    model = nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(3, 8)), nn.Tanh(), parametrizations.weight_norm(nn.Linear(8, 1))
    )
    eager = copy.deepcopy(model)
    x = bl.random.normal((16, 3))

    def step_of(model):
        opt = bl.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            opt.zero_grad()
            loss = ((model(x) - x.sum(axis=1, keepdims=True)) ** 2).mean()
            loss.backward()
            opt.step()
            return loss

        return step

    compiled, plain = bl.compile(step_of(model)), step_of(eager)
    for _ in range(5):
        np.testing.assert_allclose(compiled(x).item(), plain(x).item(), rtol=1e-4)
    assert not compiled.reasons
    for (k, a), b in zip(model.state_dict().items(), eager.state_dict().values(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-5, err_msg=k)
    found = bl.grad(lambda m: (m(x) ** 2).sum())(model)
    assert found.get_parameter("2.parametrizations.weight.original0").shape == (1, 1)
    assert nn.summary(model, x).total.trained == 8 * 3 + 8 + 1 + 8 + 1


def test_ones_own_in_turn_assigned_and_removed():
    layer = nn.Linear(3, 3)
    weight, before = layer.weight, layer.weight.detach().numpy().copy()
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert layer.parametrizations.weight.original is weight and parametrize.is_parametrized(layer, "weight")
    now = layer.weight.detach().numpy()
    np.testing.assert_array_equal(now, now.T)
    np.testing.assert_array_equal(np.triu(now), np.triu(before))
    assert [n for n, _ in layer.named_parameters()] == ["bias", "parametrizations.weight.original"]
    layer.weight = bl.ones((3, 3))
    np.testing.assert_array_equal(layer.weight.detach().numpy(), np.ones((3, 3)))
    np.testing.assert_array_equal(weight.detach().numpy(), np.triu(np.ones((3, 3))))
    layer.bias = None
    assert layer.bias is None
    layer.bias = nn.Parameter(np.zeros(3, np.float32))
    parametrize.register_parametrization(layer, "weight", Scaled())
    np.testing.assert_array_equal(layer.weight.detach().numpy(), np.full((3, 3), 2.0))
    with pytest.raises(ValueError, match="Scaled has no right_inverse"):
        layer.weight = bl.ones((3, 3))
    parametrize.register_parametrization(layer, "bias", Scaled())
    other = copy.deepcopy(layer)
    assert parametrize.remove_parametrizations(layer, "bias") is layer and type(layer).__name__ == "ParametrizedLinear"
    assert parametrize.remove_parametrizations(layer, "weight").weight is weight and type(layer) is nn.Linear
    np.testing.assert_array_equal(weight.detach().numpy(), np.full((3, 3), 2.0))
    assert (
        not parametrize.is_parametrized(layer)
        and list(layer.state_dict()) == ["bias", "weight"]
        and weight.requires_grad
    )
    parametrize.remove_parametrizations(other, "weight", leave_parametrized=False)
    np.testing.assert_array_equal(other.weight.detach().numpy(), np.triu(np.ones((3, 3))))
    normed = parametrizations.weight_norm(nn.Linear(2, 2))
    held = normed.weight.detach().numpy()
    np.testing.assert_allclose(parametrize.remove_parametrizations(normed, "weight").weight.detach().numpy(), held)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: parametrizations.weight_norm(nn.Linear(1, 1), "w"), ValueError, "Linear has no 'w'; there are weight, bias"),
        (lambda: parametrizations.spectral_norm(nn.Linear(1, 1), "w"), ValueError, "Linear has no weight 'w'"),
        (lambda: parametrizations.weight_norm(nn.Linear(1, 1), dim=2), bl.ShapeError, "weight_norm"),
        (lambda: parametrizations.spectral_norm(nn.Linear(1, 1), dim=2), bl.ShapeError, "spectral_norm"),
        (lambda: parametrizations.spectral_norm(nn.Linear(1, 1), n_power_iterations=0), ValueError, "above 0, got 0"),
        (lambda: parametrize.remove_parametrizations(nn.Linear(1, 1), "weight"), ValueError, "'weight' of Linear is not parametrized"),
        (lambda: parametrize.remove_parametrizations(parametrizations.weight_norm(nn.Linear(1, 1)), "weight", False), ValueError, "has several originals"),
        (lambda: parametrize.register_parametrization(nn.Linear(2, 1), "weight", nn.Flatten(0)), bl.ShapeError, "expected weight to stay float32[1, 2], got float32[2]"),
    ],
)  # fmt: skip
def test_mistakes(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value)
