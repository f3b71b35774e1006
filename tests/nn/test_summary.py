"""Summaries of models: counts against what is known, bytes against `residuals`, and that nothing is changed."""

from __future__ import annotations

import io

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.core.op import REGISTRY
from backlit.ops.linalg.common import MatrixOp


def normal(*shape):
    return bl.tensor(np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32))


class Net(nn.Module):
    """Everything that a summary must put back: modes, running moments, draws, attributes, tensors beside the tree."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2)
        self.generator = bl.Generator(5)
        self.seen = bl.zeros(4)
        self.held = {"last": [bl.zeros(2)]}
        self.count = 0

    def forward(self, x, fails=False):
        x = self.body(x)
        self.seen[...] = x[0]
        self.held["last"][0] += 1.0
        self.count += 1
        self.kept = x
        x = x + self.generator.normal(x.shape)
        if float(x.sum()) > 1e9:  # a look at contents
            return x
        if fails:
            raise ValueError("on purpose")
        return self.head(x)


def state_of(net):
    cells = {
        name: (id(x), x.numpy().copy(), x.requires_grad, x.grad) for name, x in net.state_dict(keep_vars=True).items()
    }
    other = [net.seen.numpy().copy(), net.held["last"][0].numpy().copy(), sorted(vars(net))]
    modes = [m.training for m in net.modules()]
    streams = [str(g.get_state()) for g in (net.generator, bl.core.rng.default_generator())]
    return repr((cells, other, modes, streams, net.count, [m._hooks for m in net.modules()]))


@pytest.mark.parametrize("mode", [None, "train", "eval"])
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_changed(mode, fails):
    net, x = Net(), normal(6, 3)
    net.head.eval()
    compiled = bl.compile(lambda x: nn.functional.relu(net.head(x)).sum())
    compiled(normal(2, 4))
    before = state_of(net)
    if fails:
        with pytest.raises(ValueError, match="on purpose"):
            nn.summary(net, x, mode=mode, fails=True)
    else:
        found = nn.summary(net, x, mode=mode)
        assert found["body.2"].forward_flops == (0 if mode == "eval" else 2 * 24)  # chosen, and scaled
    assert state_of(net) == before
    compiled(normal(2, 4))
    assert not compiled.reasons
    net(x).sum().backward()
    assert net.count == 1


def test_products_are_counted_as_pytorch_counts_them():
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    def build(make):
        return make.Sequential(
            make.Conv2d(2, 4, 3, padding=1, bias=False), make.Conv2d(4, 6, 2, stride=2, bias=False), make.Flatten(),
            make.Linear(54, 7, bias=False), make.Linear(7, 5, bias=False),
        )  # fmt: skip

    ours, theirs = build(nn), build(torch.nn)
    found = nn.summary(ours, (3, 2, 6, 6))
    with FlopCounterMode(display=False) as forward:
        out = theirs(torch.zeros(3, 2, 6, 6))
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    assert found.total.forward_flops == forward.get_total_flops()
    assert found.total.backward_flops == backward.get_total_flops()
    grouped = nn.summary(nn.Conv2d(4, 6, 2, stride=2, groups=2, bias=False), normal(3, 4, 6, 6).requires_grad_())
    assert (
        grouped.total.forward_flops == 2 * 3 * 6 * 9 * 2 * 4
        and grouped.total.backward_flops == 2 * grouped.total.forward_flops
    )


def test_flops_of_linear_layers_by_hand():
    b, k, h, n = 5, 3, 4, 2
    model = nn.Sequential(nn.Linear(k, h), nn.Tanh(), nn.Linear(h, n))
    found = nn.summary(model, (b, k))
    assert [row.forward_flops for row in found] == [2 * b * k * h + b * h + b * h + 2 * b * h * n + b * n, 2 * b * k * h + b * h, b * h, 2 * b * h * n + b * n]  # fmt: skip
    # the first layer has no gradient of its input; tanh: out * out, 1 - that, times the cotangent
    assert [row.backward_flops for row in found][1:] == [2 * b * k * h + b * h, 3 * b * h, 4 * b * h * n + b * n]
    assert found.total.backward_flops == sum(row.backward_flops for row in found.rows[1:])
    x = bl.tensor(np.ones((b, k), np.float32), requires_grad=True)
    assert nn.summary(model, x)["0"].backward_flops == 4 * b * k * h + b * h
    assert x.grad is None and x.is_leaf


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 2)), (5, 3)),
    "cnn": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)), (2, 1, 8, 8)),
    "lstm": (lambda: nn.LSTM(3, 4, 2, bidirectional=True), (5, 2, 3)),
    "transformer": (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), 2), (4, 2, 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_bytes_are_those_of_residuals(name):
    make, shape = MODELS[name]
    model = make()
    x = normal(*shape).requires_grad_()
    before = {n: v.numpy().copy() for n, v in model.named_buffers()}
    found = nn.summary(model, x)
    wanted = sum(r.nbytes for r in bl.residuals(lambda m, x: m(x), model, x.detach()) if not r.argument)
    assert found.total.cached_bytes == wanted > 0
    leaves = [row for row in found if not any(other.path.startswith(f"{row.path}.") for other in found)]
    assert name == "transformer" or sum(row.cached_bytes for row in leaves[1:] or leaves) == wanted
    for n, v in before.items():
        np.testing.assert_array_equal(dict(model.named_buffers())[n].numpy(), v)


def test_of_what_is_frozen_nothing_is_kept():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    found = nn.summary(model, (5, 3))
    assert (found["0"].trained, found["0"].frozen, found.total.trained, found.total.frozen) == (0, 16, 10, 16)
    assert found["1"].cached_bytes == found["0"].backward_flops == found["1"].backward_flops == 0
    assert found["2"].cached_bytes == 5 * 4 * 4  # its input, for the gradient of the weight
    model.requires_grad_(False)
    found = nn.summary(model, (5, 3))
    assert found.total.cached_bytes == found.total.backward_flops == 0 and found.total.forward_flops > 0


def test_what_is_shared_is_counted_once_in_what_holds_both():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(7, 4)
            self.cell = nn.Linear(4, 4)
            self.out = nn.Linear(4, 7, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, tokens):
            return self.out(self.cell(self.cell(self.embed(tokens))))

    found = nn.summary(Tied(), np.array([[1, 2, 3]]))
    assert found.total.parameters == 28 + 20 and found["out"].parameters == found["embed"].parameters == 28
    assert found["cell"].calls == 2 and found["cell"].forward_flops == 2 * (2 * 3 * 16 + 12)
    assert "cell: Linear (called 2 times)" in str(found) and found["out"].outputs == [(1, 3, 7)]
    assert found.parameter_bytes == 48 * 4


def test_models_that_use_every_transform():
    @bl.custom_vjp
    def doubled(x):
        return x * 2.0

    doubled.defvjp(lambda x: (x * 2.0, None), lambda _, c: (c * 2.0,))

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(3, 3)
            self.unused = nn.Linear(2, 2)

        def forward(self, x):
            x = bl.checkpoint(lambda m, x: bl.tanh(m(x)))(self.w, x)
            x = bl.scan(lambda c, row: (c + self.w(row), None), bl.zeros(3), x)[0]
            x = bl.vmap(lambda a: doubled(a) * x)(bl.ones(2))
            x = x + bl.grad(lambda y: (self.w(y) ** 2).sum())(x) + doubled(bl.ones(3)).detach()
            return x @ bl.linalg.svd(self.w.weight)[0], bl.cond(x.sum() > 0, lambda: x, lambda: -x), 3

    found = nn.summary(Odd(), (4, 3))
    assert found.total.backward_flops > found.total.forward_flops > 0 and found["w"].calls == 6
    assert found["unused"].calls == 0 and found["unused"].outputs == [] and found["unused"].parameters == 6
    assert found.uncounted == ["svd"] and "not counted: svd" in str(found)


def test_the_table():
    model = nn.Sequential(nn.Linear(3, 400), nn.ReLU(), nn.ModuleDict({"a": nn.Linear(1, 1)}), nn.Identity())
    model[1].requires_grad_(False)
    model[0].bias.requires_grad_(False)
    del model[2]
    found = nn.summary(model, (500, 3))
    assert (
        str(found)
        == repr(found)
        == """\
module         output      trained  frozen  forward  backward   cached
----------------------------------------------------------------------
Sequential     [500, 400]    1,200     400    1.6 M     1.6 M  781 KiB
  0: Linear    [500, 400]    1,200     400    1.4 M     1.2 M
  1: ReLU      [500, 400]                     200 k     400 k  781 KiB
  2: Identity  [500, 400]
----------------------------------------------------------------------
1,600 parameters, 400 of them frozen: 6.25 KiB with buffers
1.6 MFLOP forward, 1.6 MFLOP backward, 781 KiB kept for the gradient"""
    )
    assert len(nn.summary(model, (5, 3), depth=0).__str__().splitlines()) == 6 and len(found) == 4
    assert "\n1 MFLOP forward" in str(nn.summary(nn.ReLU(), (999_999,)))
    assert "255 parameters: 0.996 KiB with buffers" in str(nn.summary(nn.Linear(254, 1), (1, 254)))
    from rich.console import Console

    console = Console(file=io.StringIO(), width=100)
    console.print(found)
    text = console.file.getvalue()
    assert "1: ReLU" in text and "781 KiB kept for the gradient" in text and "1,200" in text
    with pytest.raises(KeyError):
        found["7"]
    with pytest.raises(bl.BacklitError, match="summary: mode must be 'train' or 'eval', got 'fast'"):
        nn.summary(model, (5, 3), mode="fast")
    with pytest.raises(bl.ShapeError):
        nn.summary(model, (5, 4))


def applied(op, arrays, params):
    """The arguments of a sample as prepared, and the result; floats where they will do."""
    for dtype in (np.float64, np.int64, bool):
        made = [np.ones(a, dtype) if isinstance(a, tuple) else np.asarray(a) for a in arrays]
        given = [bl.tensor(a.astype(dtype) if a.dtype == np.float64 else a) for a in made]
        prepared = dict(params)
        try:
            return op.prepare(tuple(given), prepared), prepared, op(*given, **params)
        except bl.DTypeError:
            continue
    raise AssertionError(op)


def test_every_op_says_what_it_costs():
    for op in REGISTRY.values():
        for arrays, params in op.samples():
            if isinstance(op, MatrixOp):
                assert op.flops((), [()], params) is None
                continue
            args, prepared, out = applied(op, arrays, params)
            count = op.flops(out.shape, [x.shape if isinstance(x, bl.Tensor) else () for x in args], prepared)
            assert type(count) is int and 0 <= count <= 100 * max(1, out.size, *(np.size(a) for a in args)), (op, count)
