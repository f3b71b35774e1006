"""Faults planted in every rule of every op: the generated checks must notice each of them.

`pytest tests/faults -v` lists them by kind and op; a new op gets its faults without a line here.
"""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

from backlit.autodiff import walk
from backlit.core import op as op_module
from backlit.core.aval import Aval
from backlit.core.op import REGISTRY, Elementwise, LinearOp, Op, ones
from backlit.core.tensor import Tensor
from backlit.ops import contract
from backlit.ops.linalg.common import MatrixOp

DIFFERENTIABLE = [n for n, op in sorted(REGISTRY.items()) if op.differentiable]


def scaled(pair: Any, factor: float) -> Any:
    return None if pair is None else (pair[0] * factor, pair[1])


def float_args(name: str) -> list[int]:
    """Arguments that are floats in the first sample; index arrays and conditions have no rule."""
    return checks.floats(checks.sample(name, 0)[1])


def noticed(name: str) -> str | None:
    """The first check that fails on some sample of the op."""
    found = (*checks.DIFFERENTIAL, checks.check_masks, checks.check_inputs_untouched, checks.check_shape_rule)
    plain = (checks.check_batching, checks.check_dtypes, checks.check_shape_rule)
    for check in found if REGISTRY[name].differentiable else plain:
        for k in range(len(REGISTRY[name].samples())):
            try:
                check(name, k)
            except Exception as error:  # noqa: BLE001 - whatever the fault breaks counts as noticed
                return f"{check.__name__}: {error}"
    return None


def patch_reverse(monkeypatch: Any, op: Op, argnum: int, change: Any) -> None:
    """`change` applied to what the reverse rule gives for one argument."""
    real = op.contributions

    def contributions(cotangent: Any, out: Any, inputs: Any, node: Any) -> Any:
        found = list(real(cotangent, out, inputs, node))
        if argnum in node.plan.argnums:
            at = node.plan.argnums.index(argnum)
            found[at] = change(found[at])
        return found

    monkeypatch.setattr(op, "contributions", contributions, raising=False)


def patch_partial(monkeypatch: Any, op: Any, argnum: int, change: Any) -> None:
    real = op.partial
    monkeypatch.setattr(op, "partial", lambda n, out, *x: change(real(n, out, *x)) if n == argnum else real(n, out, *x))


def every_argument(names: list[str]) -> list[tuple[str, int]]:
    return [(n, i) for n in names for i in float_args(n)]


def is_zero(op: Any, argnum: int) -> bool:
    return isinstance(op, Elementwise) and op.partial(argnum, *[None] * (len(op.inputs) + 1)) == 0.0


def wrong(factor: float, partial: Any) -> Any:
    return 0.5 if isinstance(partial, float) and partial == 0.0 else partial * factor


@pytest.mark.parametrize(("name", "argnum"), every_argument(DIFFERENTIABLE))
@pytest.mark.parametrize("factor", [-1.0, 1.0001, 2.0], ids=["sign", "slightly off", "factor"])
def test_wrong_reverse_rule(monkeypatch, name, argnum, factor):
    op = REGISTRY[name]
    if isinstance(op, Elementwise):
        patch_partial(monkeypatch, op, argnum, lambda p: wrong(factor, p))
    else:
        patch_reverse(monkeypatch, op, argnum, lambda c: scaled(c, factor))
    assert noticed(name)


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if not isinstance(REGISTRY[n], Elementwise)])
@pytest.mark.parametrize("factor", [-1.0, 1.0001], ids=["sign", "slightly off"])
def test_wrong_forward_mode_rule(monkeypatch, name, factor):
    op = REGISTRY[name]
    real = op.push
    monkeypatch.setattr(op, "push", lambda *args: scaled(real(*args), factor))
    assert noticed(name)


@pytest.mark.parametrize(
    ("name", "argnum"), [(n, i) for n, i in every_argument(DIFFERENTIABLE) if REGISTRY[n].reads(i)]
)
def test_undeclared_read(monkeypatch, name, argnum):
    op = REGISTRY[name]
    monkeypatch.setattr(op, "reads", lambda n: frozenset())
    monkeypatch.setattr(op, "plans", {})
    assert "reads() does not name" in (noticed(name) or "")


@pytest.mark.parametrize(("name", "argnum"), every_argument(DIFFERENTIABLE))
@pytest.mark.parametrize("kind", ["extra axis", "not shaped back"])
def test_wrong_shape_rule(monkeypatch, name, argnum, kind):
    def change(pair: Any) -> Any:
        if pair is None:
            return None
        x, mask = pair
        return x.reshape((1, *x.shape)) if kind == "extra axis" else x.reshape((x.size, 1, 1, 1, 1)), mask

    patch_reverse(monkeypatch, REGISTRY[name], argnum, change)
    assert "its reverse rule gave" in (noticed(name) or "")


@pytest.mark.parametrize("name", sorted(REGISTRY))
@pytest.mark.parametrize("kind", ["one axis more", "another dtype"])
def test_wrong_abstract_value(monkeypatch, name, kind):
    op = REGISTRY[name]
    real = op.abstract

    def abstract(*avals: Any, **params: Any) -> Aval:
        shape, dtype = real(*avals, **params)
        return Aval((*shape, 1), dtype) if kind == "one axis more" else Aval(shape, np.dtype(np.int8))

    monkeypatch.setattr(op, "abstract", abstract)
    assert "rule" in (noticed(name) or "")


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if not isinstance(REGISTRY[n], Elementwise)])
@pytest.mark.parametrize(
    "change", [lambda found: (*found, None), lambda found: found[:-1]], ids=["one more", "one less"]
)
def test_wrong_number_of_cotangents(monkeypatch, name, change):
    op = REGISTRY[name]
    real = op.pull
    monkeypatch.setattr(op, "pull", lambda *a: change(real(*a)))
    assert "its reverse rule gave" in (noticed(name) or "")


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_batching_in_the_wrong_order(monkeypatch, name):
    op = REGISTRY[name]
    real = op.batch
    monkeypatch.setattr(op, "batch", lambda size, *rest: real(size, *rest)[::-1])
    assert noticed(name)


@pytest.mark.parametrize("name", [n for n, op in sorted(REGISTRY.items()) if not isinstance(op, Elementwise)])
def test_batching_that_forgets_the_batch_axis(monkeypatch, name):
    op = REGISTRY[name]
    if name in (
        "astype",
        "broadcast_to",
        "classes",
        "conj",
        "detach",
        "direction",
        "imag",
        "real",
        "fold",
        "unfold",
        "window_argmax",
    ) or (
        isinstance(op, MatrixOp) and len(op.inputs) == 1
    ):  # for these the plain call on the whole batch is right, or fails by shape
        monkeypatch.setattr(op, "batch", lambda size, args, batched, params: op(args[0][0], **params))
    else:
        monkeypatch.setattr(op, "batch", lambda size, args, batched, params: op(*args, **params))
    assert noticed(name)


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if hasattr(REGISTRY[n], "live") and REGISTRY[n].selects])
def test_selection_without_mask(monkeypatch, name):
    op = REGISTRY[name]
    monkeypatch.setattr(op, "live", lambda argnum, out, *x: ones(out.shape if isinstance(out, Tensor) else x[0].shape))
    assert noticed(name)


@pytest.mark.parametrize("name", ["index", "max", "min", "put", "scatter_max", "scatter_min"])
def test_reverse_rule_that_drops_its_mask(monkeypatch, name):
    op = REGISTRY[name]
    for argnum in float_args(name):
        patch_reverse(monkeypatch, op, argnum, lambda c: None if c is None else (c[0], None))
    assert noticed(name)


@pytest.mark.parametrize("name", ["pad", "scatter_add"])
def test_forward_rule_that_drops_its_mask(monkeypatch, name):
    op = REGISTRY[name]
    real = op.push
    monkeypatch.setattr(op, "push", lambda *args: (real(*args)[0], None))
    assert noticed(name)


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if isinstance(REGISTRY[n], LinearOp)])
def test_transpose_that_is_not_one(monkeypatch, name):
    op = REGISTRY[name]
    real = op.transpose

    def reversed_elements(cotangent: Any, x: Any, *rest: Any, **params: Any) -> Any:
        pulled = real(cotangent, x, *rest, **params)
        return pulled.reshape(-1)[::-1].reshape(pulled.shape) if pulled.size > 1 else pulled * 3.0

    monkeypatch.setattr(op, "transpose", reversed_elements)
    assert noticed(name)


def test_missing_transpose_in_matmul(monkeypatch):
    monkeypatch.setattr(contract, "matrix_transpose", lambda x: x)
    assert noticed("matmul")


@pytest.mark.parametrize("keep", [0, 1], ids=["first", "last"])
def test_dropped_merge(monkeypatch, keep):
    checks.check_merge()
    dropped = lambda a, b: (a, b)[keep] if a is not None and b is not None else a or b
    monkeypatch.setattr(walk, "add_masked", dropped)
    monkeypatch.setattr(op_module, "add_masked", dropped)
    with pytest.raises(AssertionError):
        checks.check_merge()


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_wrong_dtype(monkeypatch, name):
    op = REGISTRY[name]
    if name == "astype":
        monkeypatch.setattr(op, "transpose", lambda c, x, **params: c)
    else:
        real = op.forward
        monkeypatch.setattr(op, "forward", lambda *a, **p: np.asarray(real(*a, **p)).astype(np.complex128))
    assert noticed(name)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_without_a_fault_nothing_is_noticed(name):
    assert noticed(name) is None
