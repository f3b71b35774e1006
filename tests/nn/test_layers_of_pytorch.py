"""Modules against PyTorch's of the same name: arguments, defaults, names of parameters, `repr`, values, gradients."""

from __future__ import annotations

import inspect
import math
import warnings

import numpy as np
import pytest

import backlit as bl
from backlit import nn

torch = pytest.importorskip("torch")
LEGACY = {"self", "size_average", "reduce", "device", "dtype", "args", "kwargs", "min_value", "max_value"}


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def positive(*shape):
    return np.abs(normal(*shape)) + 0.1


def unit(*shape):
    return np.random.default_rng(1).uniform(0.05, 0.95, shape)


def signs(*shape):
    return np.where(normal(*shape) < 0, -1.0, 1.0)


def log_p(*shape):
    z = normal(*shape)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


CLASSES = np.array([0, 3, 1, 2])
MULTI = np.array([[3, 0, -1, 1], [-1, 2, 2, 2], [0, 1, 2, 3]])
ACTIVATIONS = [
    ("Threshold", (0.1, 20.0)), ("ReLU", ()), ("RReLU", ()), ("RReLU", (0.1, 0.2)), ("Hardtanh", ()), ("Hardtanh", (-0.5, 2.0)),
    ("ReLU6", ()), ("Sigmoid", ()), ("Hardsigmoid", ()), ("Tanh", ()), ("SiLU", ()), ("Mish", ()), ("Hardswish", ()), ("ELU", ()),
    ("ELU", (0.5,)), ("CELU", ()), ("CELU", (2.0,)), ("SELU", ()), ("GLU", ()), ("GLU", (1,)), ("GELU", ()), ("GELU", ("tanh",)),
    ("Hardshrink", ()), ("LeakyReLU", ()), ("LeakyReLU", (0.2,)), ("LogSigmoid", ()), ("Softplus", ()), ("Softplus", (2.0, 1.0)),
    ("Softshrink", ()), ("PReLU", ()), ("PReLU", (4, 0.1)), ("Softsign", ()), ("Tanhshrink", ()), ("Softmin", (1,)),
    ("Softmax", (1,)), ("Softmax2d", ()), ("LogSoftmax", (-1,)),
]  # fmt: skip
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
NORMS = [
    ("BatchNorm1d", (3,), {}, (4, 3)), ("BatchNorm1d", (3,), {"momentum": 0.3, "eps": 1e-3}, (4, 3, 5)),
    ("BatchNorm2d", (3,), {"affine": False}, (4, 3, 2, 2)), ("BatchNorm2d", (3,), {"track_running_stats": False}, (4, 3, 2, 2)),
    ("BatchNorm2d", (3,), {"momentum": None}, (4, 3, 2, 2)), ("BatchNorm2d", (3,), {"bias": False}, (4, 3, 2, 2)),
    ("BatchNorm3d", (3,), {}, (2, 3, 2, 2, 2)), ("InstanceNorm1d", (3,), {}, (4, 3, 5)), ("InstanceNorm1d", (3,), {}, (3, 5)),
    ("InstanceNorm1d", (3,), {"momentum": None, "track_running_stats": True}, (4, 3, 5)),
    ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True}, (4, 3, 2, 2)),
    ("InstanceNorm3d", (3,), {"affine": True, "bias": False}, (2, 3, 2, 2, 2)), ("LayerNorm", (6,), {}, (4, 6)),
    ("LayerNorm", ((3, 5),), {"eps": 1e-3, "bias": False}, (4, 3, 5)), ("LayerNorm", (5,), {"elementwise_affine": False}, (4, 3, 5)),
    ("GroupNorm", (3, 6), {}, (2, 6, 4)), ("GroupNorm", (2, 6), {"affine": False, "eps": 1e-3}, (2, 6)),
    ("GroupNorm", (2, 6), {"bias": False}, (2, 6)), ("RMSNorm", (6,), {}, (4, 6)), ("RMSNorm", ((3, 5),), {"eps": 1e-3}, (4, 3, 5)),
    ("RMSNorm", (6,), {"elementwise_affine": False}, (4, 6)), ("LocalResponseNorm", (3,), {"alpha": 0.1}, (2, 5, 4)),
]  # fmt: skip
LOSSES = [
    ("L1Loss", {}, (normal(4, 3), normal(3, 4).T)), ("MSELoss", {"reduction": "sum"}, (normal(4, 3), normal(3, 4).T)),
    ("SmoothL1Loss", {"beta": 0.5}, (normal(4, 3), normal(3, 4).T)), ("HuberLoss", {"delta": 0.5}, (normal(4, 3), normal(3, 4).T)),
    ("CrossEntropyLoss", {}, (normal(4, 5), CLASSES)), ("CrossEntropyLoss", {"weight": unit(5), "label_smoothing": 0.1}, (normal(4, 5), CLASSES)),
    ("NLLLoss", {"weight": unit(5), "ignore_index": 3}, (log_p(4, 5), CLASSES)), ("BCELoss", {}, (unit(4, 3), unit(4, 3) ** 2)),
    ("BCELoss", {"weight": unit(3)}, (unit(4, 3), unit(4, 3) ** 2)), ("BCEWithLogitsLoss", {}, (normal(4, 3), unit(4, 3))),
    ("BCEWithLogitsLoss", {"pos_weight": positive(3), "reduction": "none"}, (normal(4, 3), unit(4, 3))),
    ("KLDivLoss", {"reduction": "batchmean"}, (log_p(4, 3), np.exp(log_p(3, 4).T))), ("KLDivLoss", {"reduction": "sum", "log_target": True}, (log_p(4, 3), log_p(3, 4).T)),
    ("PoissonNLLLoss", {}, (normal(4, 3), positive(4, 3))), ("PoissonNLLLoss", {"log_input": False, "full": True}, (positive(4, 3), 3 * positive(3, 4).T)),
    ("GaussianNLLLoss", {}, (normal(4, 3), normal(3, 4).T, positive(4, 3))), ("GaussianNLLLoss", {"full": True}, (normal(4, 3), normal(3, 4).T, positive(4, 1))),
    ("HingeEmbeddingLoss", {"margin": 0.5}, (positive(4, 3), signs(4, 3))), ("MarginRankingLoss", {}, (normal(5), normal(5) * 2, signs(5))),
    ("SoftMarginLoss", {}, (normal(4, 3), signs(3, 4).T)), ("MultiMarginLoss", {"p": 2, "weight": unit(5)}, (normal(4, 5), CLASSES)),
    ("MultiMarginLoss", {}, (normal(4, 5), CLASSES)), ("MultiLabelMarginLoss", {}, (normal(3, 4), MULTI)),
    ("MultiLabelSoftMarginLoss", {}, (normal(4, 3), (unit(4, 3) > 0.5).astype(float))), ("CosineEmbeddingLoss", {"margin": 0.1}, (normal(5, 3), normal(3, 5).T, signs(5))),
    ("TripletMarginLoss", {"swap": True}, (normal(5, 3), normal(3, 5).T, normal(5, 3) ** 2)), ("TripletMarginWithDistanceLoss", {"margin": 0.5}, (normal(5, 3), normal(3, 5).T, normal(5, 3) ** 2)),
    ("CTCLoss", {"blank": 1, "zero_infinity": True}, (log_p(8, 2, 5), np.array([[2, 3, 3], [4, 0, 0]]), np.array([8, 6]), np.array([3, 2]))),
    ("CosineSimilarity", {"dim": 0}, (normal(5, 3), normal(3, 5).T)), ("PairwiseDistance", {"p": 1.0, "keepdim": True}, (normal(5, 3), normal(3, 5).T)),
]  # fmt: skip
DROPOUTS = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]
NAMES = sorted({name for name, *_ in (*ACTIVATIONS, *NORMS, *LOSSES)} | set(DROPOUTS))


def defaults(cls):
    """Names and defaults of its arguments in their order, without those that PyTorch has given up or that say where it lies."""
    found = inspect.signature(cls.__init__).parameters.values()
    return [(p.name, p.default) for p in found if p.name not in LEGACY]


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_defaults(name):
    assert dict(defaults(getattr(nn, name))) == dict(defaults(getattr(torch.nn, name)))
    keyword = lambda cls: {k for k, p in inspect.signature(cls.__init__).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert keyword(getattr(nn, name)) - LEGACY == keyword(getattr(torch.nn, name)) - LEGACY


def both(name, *args, **kwargs):
    array = lambda v, make: make(v) if isinstance(v, np.ndarray) else v
    ours = getattr(nn, name)(*args, **{k: array(v, bl.tensor) for k, v in kwargs.items()})
    theirs = getattr(torch.nn, name)(*args, **{k: array(v, torch.tensor) for k, v in kwargs.items()}).double()
    for module in ours.modules():
        for table in (module._parameters, module._buffers):
            for cell in table.values():
                if cell is not None and cell.dtype == np.float32:
                    cell._value = cell._value.astype(np.float64)
    assert {k: list(v.shape) for k, v in ours.state_dict().items()} == {
        k: list(v.shape) for k, v in theirs.state_dict().items()
    }
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert ours.extra_repr() == theirs.extra_repr()
    return ours, theirs


def compare(ours, theirs, arrays, tolerance=1e-11):
    """Values and the gradients of all floats among the arguments, and of all parameters."""
    floats = [a.dtype == np.float64 for a in arrays]
    mine = [bl.tensor(a, requires_grad=f) for a, f in zip(arrays, floats, strict=True)]
    their = [torch.tensor(a, requires_grad=f) for a, f in zip(arrays, floats, strict=True)]
    out = ours(*mine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = theirs(*their)
    close = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(out.detach().numpy(), wanted.detach().numpy(), **close)
    cotangent = np.random.default_rng(9).standard_normal(tuple(wanted.shape))
    ours.zero_grad()
    theirs.zero_grad()
    out.backward(cotangent)
    wanted.backward(torch.tensor(cotangent))
    for a, b in zip((*mine, *ours.parameters()), (*their, *theirs.parameters()), strict=True):
        if b.grad is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), **close)


@pytest.mark.parametrize(("name", "args"), ACTIVATIONS, ids=[f"{n}{list(a)}" for n, a in ACTIVATIONS])
def test_activations(name, args):
    ours, theirs = both(name, *args)
    ours.eval()
    theirs.eval()
    x = 3 * normal(2, 4, 3, 2)
    tolerance = 1e-6 if name == "Hardsigmoid" else 1e-11  # their sixth is that of float32
    compare(ours, theirs, [x], tolerance)


@pytest.mark.parametrize("name", INPLACE)
def test_in_place(name):
    args = (0.1, 20.0) if name == "Threshold" else ()
    ours, theirs = both(name, *args, inplace=True)
    ours.eval()
    theirs.eval()
    x, y = bl.tensor(normal(4, 3)), torch.tensor(normal(4, 3))
    assert ours(x) is x
    theirs(y)
    np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-6)
    leaf = bl.tensor(normal(4, 3), requires_grad=True)
    with pytest.raises(bl.BacklitError, match="leaf"):
        ours(leaf)
    middle = leaf * 1.0
    ours(middle).sum().backward()
    np.testing.assert_allclose(
        leaf.grad.numpy(), bl.grad(lambda x: getattr(nn, name)(*args).eval()(x).sum())(normal(4, 3)).numpy()
    )


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "shape"), NORMS, ids=[f"{n}-{len(s)}-{'-'.join(k)}" for n, _, k, s in NORMS]
)
def test_normalisation(name, args, kwargs, shape):
    ours, theirs = both(name, *args, **kwargs)
    rng = np.random.default_rng(2)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        value = rng.standard_normal(p.shape)
        p._value = value
        q.data = torch.tensor(value)
    for number in range(3):
        compare(ours, theirs, [rng.standard_normal(shape) + number])
        for k, v in ours.named_buffers():
            np.testing.assert_allclose(v.numpy(), theirs.get_buffer(k).numpy(), rtol=1e-12, err_msg=k)
    ours.eval()
    theirs.eval()
    before = {k: v.numpy().copy() for k, v in ours.named_buffers()}
    compare(ours, theirs, [rng.standard_normal(shape)])
    assert all(np.array_equal(v.numpy(), before[k]) for k, v in ours.named_buffers())


@pytest.mark.parametrize(("name", "kwargs", "arrays"), LOSSES, ids=[f"{n}-{'-'.join(k)}" for n, k, _ in LOSSES])
def test_losses(name, kwargs, arrays):
    ours, theirs = both(name, **kwargs)
    arrays = [np.ascontiguousarray(a) for a in arrays]
    if name in (
        "BCELoss",
        "MultiLabelSoftMarginLoss",
        "HingeEmbeddingLoss",
        "SoftMarginLoss",
        "MarginRankingLoss",
        "CosineEmbeddingLoss",
    ):
        fixed = arrays.pop()  # a target without a gradient
        compare(lambda_module(ours, fixed, bl.tensor), lambda_module(theirs, fixed, torch.tensor), arrays)
    elif name == "CTCLoss":  # theirs is the gradient of the logits
        softmax = lambda m, f: with_first(m, f)
        compare(
            softmax(ours, lambda z: nn.functional.log_softmax(z, 2)),
            softmax(theirs, lambda z: z.log_softmax(2)),
            arrays,
        )
    else:
        compare(ours, theirs, arrays)


class lambda_module:
    """A module with its last argument fixed."""

    def __init__(self, module, last, make):
        self.parameters, self.zero_grad = module.parameters, module.zero_grad
        self.call = lambda *args: module(*args, make(last))

    def __call__(self, *args):
        return self.call(*args)


class with_first:
    """A module with a function before its first argument."""

    def __init__(self, module, f):
        self.parameters, self.zero_grad = module.parameters, module.zero_grad
        self.call = lambda first, *args: module(f(first), *args)

    def __call__(self, *args):
        return self.call(*args)


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout(name):
    ours, _ = both(name, 0.4)
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


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("Embedding", (5, 3), {}), ("Embedding", (5, 3), {"padding_idx": -2, "scale_grad_by_freq": True}),
        ("Embedding", (5, 3), {"max_norm": 1.0, "norm_type": 1.0}), ("Bilinear", (3, 2, 4), {}), ("Bilinear", (3, 2, 4, False), {}),
        ("Identity", (1, 2), {"anything": 3}), ("Flatten", (), {}), ("Flatten", (0, 1), {}), ("Unflatten", (1, (2, 3)), {}),
        ("Unflatten", (-1, (2, -1)), {}),
    ],
)  # fmt: skip
def test_other_layers(name, args, kwargs):
    ours, theirs = both(name, *args, **kwargs)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        q.data = torch.tensor(p.detach().numpy().copy())
    if name == "Embedding":
        numbers = np.array([[0, 3, 3], [4, 1, 0]])
        compare(lambda_module(ours, numbers, bl.tensor), lambda_module(theirs, numbers, torch.tensor), [])
        np.testing.assert_allclose(ours.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-12)
        assert "padding_idx" not in kwargs or (ours.weight.detach().numpy()[3] == 0).all()
    elif name == "Bilinear":
        compare(ours, theirs, [normal(4, 3), normal(4, 2)])
    else:
        compare(ours, theirs, [normal(2, 6, 4) if name != "Unflatten" or args[0] == 1 else normal(2, 6)])


@pytest.mark.parametrize("name", ["Embedding", "Bilinear", "Identity", "Flatten", "Unflatten"])
def test_arguments_and_defaults_of_other_layers(name):
    ours = [d for d in defaults(getattr(nn, name)) if d[0] != "generator"]
    assert ours == defaults(getattr(torch.nn, name))


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
    theirs = torch.nn.ModuleList([torch.nn.ReLU(), torch.nn.Linear(2, 3)])
    assert list(layers.state_dict()) == list(theirs.state_dict()) == ["1.weight", "1.bias"]
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
