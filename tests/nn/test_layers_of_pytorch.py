"""Activations, losses, norms and lists as modules: what is not in the recorded comparison with PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backlit as bl
from backlit import nn


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


INPLACE = [
    "Threshold",
    "ReLU",
    "RReLU",
    "Hardtanh",
    "ReLU6",
    "Hardsigmoid",
    "SiLU",
    "Mish",
    "Hardswish",
    "ELU",
    "CELU",
    "SELU",
    "LeakyReLU",
]
DROPOUTS = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]


@pytest.mark.parametrize("name", INPLACE)
def test_in_place(name):
    args = (0.1, 20.0) if name == "Threshold" else ()
    ours = getattr(nn, name)(*args, inplace=True).eval()
    x = bl.tensor(normal(4, 3))
    assert ours(x) is x
    np.testing.assert_array_equal(x.numpy(), getattr(nn, name)(*args).eval()(bl.tensor(normal(4, 3))).numpy())
    leaf = bl.tensor(normal(4, 3), requires_grad=True)
    with pytest.raises(bl.BacklitError, match="leaf"):
        ours(leaf)
    middle = leaf * 1.0
    ours(middle).sum().backward()
    np.testing.assert_allclose(
        leaf.grad.numpy(), bl.grad(lambda x: getattr(nn, name)(*args).eval()(x).sum())(normal(4, 3)).numpy()
    )


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout(name):
    ours = getattr(nn, name)(0.4)
    x = np.ones((4, 6, 3, 2, 2) if name == "Dropout3d" else (4, 6, 5))
    bl.random.seed(3)
    out = ours(bl.tensor(x)).numpy()
    bl.random.seed(3)
    functional = {"Dropout": "dropout", "AlphaDropout": "alpha_dropout", "FeatureAlphaDropout": "feature_alpha_dropout"}
    wanted = getattr(nn.functional, functional.get(name, name.lower()))(x, 0.4, training=True).numpy()
    np.testing.assert_array_equal(out, wanted)
    assert len(np.unique(out)) == 2
    np.testing.assert_array_equal(ours.eval()(bl.tensor(x)).numpy(), x)
    with pytest.raises(bl.BacklitError, match=name):
        getattr(nn, name)(1.5)


def test_running_moments_are_state_of_compiled_steps():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2))
    eager = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2))
    eager.load_state_dict(model.state_dict())
    batches = np.random.default_rng(0).standard_normal((4, 8, 3)).astype(np.float32)

    def step_of(model, g):
        opt = bl.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            opt.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            opt.step()
            return loss

        return step

    compiled = bl.compile(step_of(model, 1))
    plain = step_of(eager, 1)
    for run, kept in ((compiled, []), (plain, [])):
        bl.random.seed(4)
        for x in batches:
            kept.append(run(bl.tensor(x)).item())
    assert not compiled.report().callbacks and len(compiled.reasons) == 0
    for (k, a), (_, b) in zip(model.state_dict().items(), eager.state_dict().items(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5, atol=1e-6, err_msg=k)
    assert model[1].num_batches_tracked.item() == 4 and not np.array_equal(model[1].running_mean.numpy(), np.zeros(4))
    model.eval()
    assert math.isfinite(compiled(bl.tensor(batches[0])).item()) and model[1].num_batches_tracked.item() == 4


def test_running_moments_move_inside_grad_of_a_module():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    x = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    f = lambda m, x: (m(x) ** 3).sum()
    runs = (
        lambda: bl.grad(f)(model, bl.tensor(x)), lambda: bl.jvp(lambda x: f(model, x), (x,), (x,)),
        lambda: bl.grad(lambda x: bl.grad(f, argnums=1)(model, x).sum())(x), lambda: f(model, x).backward(),
        lambda: bl.compile(lambda x: bl.grad(f)(model, x))(bl.tensor(x)),
    )  # fmt: skip
    wanted = np.zeros(4, np.float32)
    for k, run in enumerate(runs):
        run()
        assert model[1].num_batches_tracked.item() == k + 1
        wanted = wanted * 0.9 + 0.1 * model[0](x).mean(axis=0).detach().numpy()
        np.testing.assert_allclose(model[1].running_mean.numpy(), wanted, rtol=1e-4, atol=1e-7)
    model[1].reset_running_stats()
    assert model[1].num_batches_tracked.item() == 0 and not model[1].running_mean.numpy().any()


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: nn.BatchNorm2d(3)(bl.ones((2, 3))), bl.ShapeError, "BatchNorm2d: expected 4 axes, got float32[2, 3]"),
        (lambda: nn.InstanceNorm1d(3)(bl.ones((2, 3, 4, 5))), bl.ShapeError, "InstanceNorm1d: expected 2 or 3 axes"),
        (lambda: nn.BatchNorm1d(4)(bl.ones((2, 3))), bl.ShapeError, "running_mean"),
        (lambda: nn.GroupNorm(4, 6), bl.BacklitError, "6 channels are not 4 equal groups"),
        (lambda: nn.Hardtanh(1.0, 1.0), bl.BacklitError, "min_val < max_val"),
        (lambda: nn.MSELoss(reduction="median"), bl.BacklitError, "MSELoss: reduction"),
        (lambda: nn.Softmax2d()(bl.ones((2, 3))), bl.ShapeError, "Softmax2d"),
        (lambda: nn.LayerNorm(3)(bl.ones((2, 3), dtype="float64")), bl.DTypeError, ".astype('float32')"),
    ],
)  # fmt: skip
def test_errors(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value)


def test_running_moments_of_a_function_that_raises_stay():
    model = nn.BatchNorm1d(4)

    def f(m, x):
        m(x)
        raise ValueError("later")

    with pytest.raises(ValueError, match="later"):
        bl.grad(f)(model, bl.ones((8, 4)))
    assert model.num_batches_tracked.item() == 0


def test_embedding_of_given_rows():
    table = normal(5, 3)
    layer = nn.Embedding.from_pretrained(table, padding_idx=1)
    assert not layer.weight.requires_grad and nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad
    np.testing.assert_array_equal(layer(np.array([2, 1])).numpy(), table[[2, 1]])
    with pytest.raises(bl.ShapeError, match="from_pretrained"):
        nn.Embedding.from_pretrained(table[0])
    with pytest.raises(bl.BacklitError, match="padding_idx 5"):
        nn.Embedding(5, 3, padding_idx=5)
    with pytest.raises(bl.ShapeError, match="Unflatten"):
        nn.Unflatten(1, (2, 3))(bl.ones((2, 5)))


def test_lists_and_dictionaries_of_modules():
    a, b, c = nn.ReLU(), nn.Linear(2, 3), nn.Tanh()
    layers = nn.ModuleList([a, b])
    assert list(layers.state_dict()) == ["1.weight", "1.bias"]
    assert layers.append(c) is layers and len(layers) == 3 and layers[-1] is c and list(layers[1:]) == [b, c]
    layers.insert(0, c)
    assert [n for n, _ in layers.named_children()] == ["0", "1", "2"] and layers[0] is c
    assert layers.pop(0) is c and list(layers) == [a, b, c]
    layers[0] = c
    del layers[1]
    assert list(layers) == [c, c] and list(layers + [b]) == [c, c, b]
    layers += [a]
    assert list(layers) == [c, c, a]
    with pytest.raises(TypeError, match="ModuleList: expected modules, got int"):
        layers.append(3)
    assert list(layers) == [c, c, a]
    named = nn.ModuleDict({"first": b})
    named["second"] = a
    named.update([("third", c)])
    assert list(named) == list(named.keys()) == ["first", "second", "third"] and "third" in named and len(named) == 3
    assert list(named.state_dict()) == ["first.weight", "first.bias"] and list(named.values()) == [b, a, c]
    assert named.pop("second") is a and dict(named.items()) == {"first": b, "third": c}
    with pytest.raises(TypeError, match="ModuleDict: expected modules, got int at 'x'"):
        named["x"] = 3
    with pytest.raises(KeyError):
        del named["second"]
    named.clear()
    assert len(named) == 0

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))
            self.heads = nn.ModuleDict({"out": nn.Linear(3, 1)})

        def forward(self, x):
            for layer in self.layers:
                x = nn.functional.tanh(layer(x))
            return self.heads["out"](x)

    net, x = Net(), bl.ones((4, 3))
    assert "(layers): ModuleList(" in repr(net) and "layers.1.weight" in net.state_dict()
    found = bl.grad(lambda m: (m(x) ** 2).sum())(net)
    compiled = bl.compile(lambda x: (net(x) ** 2).sum())
    np.testing.assert_allclose(compiled(x).item(), (net(x) ** 2).sum().item(), rtol=1e-5)
    assert found.layers[1].weight.shape == (3, 3)
