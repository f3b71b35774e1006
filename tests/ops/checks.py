"""What every op is held against, generated from its own samples: the checks of the registry, and their tolerances."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import backlit
from backlit import grad, jvp, vjp, vmap
from backlit.autodiff.check import directional
from backlit.core.aval import aval_of
from backlit.core.dtypes import complex_dtype, is_float
from backlit.core.op import REGISTRY, Op
from backlit.core.tensor import Tensor

EPS = np.finfo(np.float64).eps


def cases() -> list[tuple[str, int]]:
    """Op name and sample number, for every op."""
    return [(name, k) for name in sorted(REGISTRY) for k in range(len(REGISTRY[name].samples()))]


def differentiable_cases() -> list[tuple[str, int]]:
    return [(name, k) for name, k in cases() if REGISTRY[name].differentiable]


def is_complex(name: str) -> bool:
    """Whether an op takes or gives complex numbers in its own samples; compiled, it runs by its eager forward."""
    op, arrays = sample(name, 0)
    return any(np.dtype(a.dtype).kind == "c" for a in (*arrays, op(*arrays)))


def real_cases() -> list[tuple[str, int]]:
    """The cases of real numbers alone."""
    return [(name, k) for name, k in cases() if not is_complex(name)]


def draw(op: Op, args: tuple[Any, ...], rng: np.random.Generator) -> list[np.ndarray]:
    """The arrays of a sample: given ones as they are, shapes filled within the op's domain and away from kinks."""
    low, high = getattr(op, "domain", (-2.0, 2.0))
    made = []
    for a in args:
        if isinstance(a, np.ndarray):
            made.append(a)
        else:
            # a grid with jitter: no two elements closer than a fifth of a cell, so that no tie or kink is near
            n = int(np.prod(a))
            cells = (rng.permutation(n) + 0.5 + rng.uniform(-0.4, 0.4, n)) / max(n, 1)
            drawn = (low + (high - low) * (0.02 + 0.96 * cells)).reshape(a)
            made.append(a.kind(drawn) if hasattr(a, "kind") else drawn)
    return made


def sample(name: str, k: int, seed: int = 0) -> tuple[Any, list[np.ndarray]]:
    """The op with its parameters bound, and arrays to apply it to; those drawn here are complex under `complex_samples`."""
    op = REGISTRY[name]
    args, params = op.samples()[k]
    arrays = draw(op, args, np.random.default_rng([seed, k, len(name)]))
    if not op.differentiable and name.startswith(("bitwise", "logical")):
        arrays = [np.asarray(a > np.mean(a)) if a.size else a.astype(bool) for a in arrays]
    if _complex:
        turns = np.random.default_rng([seed, k, len(name), 1])
        drawn = [not isinstance(a, np.ndarray) for a in args]
        arrays = [
            np.asarray(a + 1j * turns.uniform(0.2, 1.0, a.shape)) if d else a
            for a, d in zip(arrays, drawn, strict=True)
        ]
    return functools.partial(op, **params), arrays


_complex = False


@contextmanager
def complex_samples() -> Iterator[None]:
    """The checks take complex numbers inside, off the real axis, where the branch cuts are."""
    global _complex
    _complex = True
    try:
        yield
    finally:
        _complex = False


def normal(rng: np.random.Generator, like: Any) -> np.ndarray:
    """Random numbers shaped like an array, complex where it is."""
    made = rng.standard_normal(like.shape)
    return made + 1j * rng.standard_normal(like.shape) if np.dtype(like.dtype).kind == "c" else made


def narrow(dtype: Any) -> np.dtype:
    """float32 and complex64 for any float."""
    dtype = np.dtype(dtype)
    return np.dtype(np.complex64 if dtype.kind == "c" else np.float32) if is_float(dtype) else dtype


def floats(arrays: list[np.ndarray]) -> list[int]:
    return [i for i, a in enumerate(arrays) if is_float(a.dtype)]


def directions(arrays: list[np.ndarray], rng: np.random.Generator) -> tuple[Any, ...]:
    return tuple(normal(rng, a) if is_float(a.dtype) else None for a in arrays)


def value(x: Any) -> np.ndarray:
    return np.asarray(x.detach()) if isinstance(x, Tensor) else np.asarray(x)


def inner(a: Any, b: Any) -> float:
    """Re(conj(a) b), the inner product of which the reverse rules are the transposes."""
    return float(np.vdot(value(a), value(b)).real)


def check_differences(name: str, k: int) -> None:
    """Reverse and forward mode against finite differences, with a random tangent and a random cotangent."""
    apply, arrays = sample(name, k)
    rng = np.random.default_rng(1)
    tangents = directions(arrays, rng)
    out, pushed = jvp(apply, tuple(arrays), tangents)
    cotangent = normal(rng, out)
    _, pullback = vjp(apply, *arrays)
    pulled = pullback(cotangent)

    def along(t: float) -> np.ndarray:
        moved = [a if d is None else a + t * d for a, d in zip(arrays, tangents, strict=True)]
        return np.asarray(inner(cotangent, apply(*moved)))

    step = 2e-3
    expected, _ = directional(along, step)
    # rounding of f is divided by the smallest step, step / 8, and tripled by the extrapolation
    size = float(np.sum(np.abs(cotangent) * np.abs(value(out))))
    allowed = 1e-9 * (1 + abs(float(expected))) + 3 * EPS * (1 + size) * 8 / step
    reverse = sum(inner(c, t) for c, t in zip(pulled, tangents, strict=True) if t is not None)
    assert abs(reverse - expected) <= allowed, f"{name}: reverse {reverse!r}, differences {float(expected)!r}"
    forward = inner(cotangent, pushed)
    assert abs(forward - expected) <= allowed, f"{name}: forward {forward!r}, differences {float(expected)!r}"


def adjoint(f: Any, arrays: list[np.ndarray], seed: int) -> None:
    rng = np.random.default_rng(seed)
    tangents = directions(arrays, rng)
    out, pushed = jvp(f, tuple(arrays), tangents)
    _, pullback = vjp(f, *arrays)
    outs, pushes = backlit.tree.leaves(out), backlit.tree.leaves(pushed)
    cotangents = [normal(rng, o) for o in outs]
    structure = backlit.tree.flatten(out)[1]
    pulled = pullback(backlit.tree.unflatten(structure, cotangents))
    forward = sum(inner(c, p) for c, p in zip(cotangents, pushes, strict=True))
    reverse = sum(inner(c, t) for c, t in zip(pulled, tangents, strict=True) if t is not None)
    scale = sum(np.linalg.norm(c) * np.linalg.norm(value(p)) for c, p in zip(cotangents, pushes, strict=True))
    scale += sum(
        np.linalg.norm(value(c)) * np.linalg.norm(t) for c, t in zip(pulled, tangents, strict=True) if t is not None
    )
    assert abs(forward - reverse) <= 1e-13 * scale, f"forward {forward!r}, reverse {reverse!r}, scale {scale!r}"


def check_adjoint(name: str, k: int) -> None:
    """<cotangent, J tangent> = <J^T cotangent, tangent>."""
    apply, arrays = sample(name, k)
    adjoint(apply, arrays, 2)


def pullback_of(apply: Any, arrays: list[np.ndarray], cotangent: np.ndarray) -> Any:
    """The VJP as a function of the float inputs and the cotangent, giving the float cotangents."""
    places = floats(arrays)

    def f(*args: Any) -> Any:
        *inputs, c = args
        filled: list[Any] = list(arrays)
        for i, x in zip(places, inputs, strict=True):
            filled[i] = x
        pulled = vjp(apply, *filled)[1](c)
        return tuple(pulled[i] for i in places)

    return f, [*(arrays[i] for i in places), cotangent]


def check_second_order(name: str, k: int) -> None:
    """The VJP itself: its two modes agree, and both agree with differences."""
    apply, arrays = sample(name, k)
    out = apply(*arrays)
    f, inputs = pullback_of(apply, arrays, normal(np.random.default_rng(3), out))
    adjoint(f, inputs, 4)
    rng = np.random.default_rng(5)
    tangents = directions(inputs, rng)
    outs, pushed = jvp(f, tuple(inputs), tangents)
    weights = [normal(rng, o) for o in outs]

    def along(t: float) -> np.ndarray:
        found = f(*(a + t * d for a, d in zip(inputs, tangents, strict=True)))
        return np.asarray(sum(inner(w, o) for w, o in zip(weights, found, strict=True)))

    step = 1e-3
    expected, _ = directional(along, step)
    size = sum(float(np.sum(np.abs(w) * np.abs(value(o)))) for w, o in zip(weights, outs, strict=True))
    allowed = 1e-8 * (1 + abs(float(expected))) + 3 * EPS * (1 + size) * 8 / step
    forward = sum(inner(w, p) for w, p in zip(weights, pushed, strict=True))
    assert abs(forward - expected) <= allowed, f"{name}: second order {forward!r}, differences {float(expected)!r}"


def check_batching(name: str, k: int) -> None:
    """vmap over every choice of arguments equals one call an example, in value and through the VJP."""
    apply, arrays = sample(name, k)
    size = 3
    for chosen in itertools.product((True, False), repeat=len(arrays)):
        if not any(chosen):
            continue
        stacked, axes = [], []
        for i, (a, c) in enumerate(zip(arrays, chosen, strict=True)):
            given = isinstance(REGISTRY[name].samples()[k][0][i], np.ndarray)
            rows = [np.roll(a, min(r, 1)) if given else sample(name, k, seed=r)[1][i] for r in range(size)]
            stacked.append(np.stack(rows) if c else a)
            axes.append(0 if c else None)
        together = vmap(apply, in_axes=tuple(axes))(*stacked)
        each = [apply(*(a[r] if c else a for a, c in zip(stacked, chosen, strict=True))) for r in range(size)]
        expected = np.stack([value(e) for e in each])
        assert together.shape == expected.shape and together.dtype == expected.dtype, f"{name} {chosen}"
        np.testing.assert_allclose(value(together), expected, rtol=1e-13, atol=1e-13, err_msg=f"{name} {chosen}")
        if REGISTRY[name].differentiable:
            cotangent = normal(np.random.default_rng(6), expected)
            pulled = vjp(vmap(apply, in_axes=tuple(axes)), *stacked)[1](cotangent)
            for i in floats(stacked):
                parts = []
                for r in range(size):
                    one = [a[r] if c else a for a, c in zip(stacked, chosen, strict=True)]
                    parts.append(value(vjp(apply, *one)[1](cotangent[r])[i]))
                want = np.stack(parts) if chosen[i] else sum(parts)
                np.testing.assert_allclose(value(pulled[i]), want, rtol=1e-12, atol=1e-12, err_msg=f"{name} {chosen}")


def check_dtypes(name: str, k: int) -> None:
    """float32 in gives float32 out, cotangents in the dtype of the primal, and values near those of float64."""
    apply, arrays = sample(name, k)
    out64 = value(apply(*arrays))
    low = [a.astype(narrow(a.dtype)) for a in arrays]
    out, pullback = vjp(apply, *low)
    if name != "astype":
        assert out.dtype == narrow(out64.dtype), f"{name}: {out.dtype}"
    np.testing.assert_allclose(value(out), out64, rtol=2e-5, atol=2e-5, err_msg=name)
    if REGISTRY[name].differentiable:
        for a, c in zip(low, pullback(np.ones(out.shape, out.dtype)), strict=True):
            assert c is None or (c.dtype == a.dtype and c.shape == a.shape), f"{name}: {c.dtype}{c.shape}"


def check_shape_rule(name: str, k: int) -> None:
    """`abstract` against `forward`, in float64 and float32."""
    op = REGISTRY[name]
    apply, arrays = sample(name, k)
    for dtype in (np.float64, np.float32):
        wanted = [complex_dtype(dtype) if a.dtype.kind == "c" else dtype for a in arrays]
        tensors = [Tensor(a.astype(d) if is_float(a.dtype) else a) for a, d in zip(arrays, wanted, strict=True)]
        params = dict(apply.keywords)
        prepared = op.prepare(tuple(tensors), params)
        expected = op.abstract(*(aval_of(x) for x in prepared), **params)
        out = apply(*tensors)
        assert (out.shape, out.dtype) == expected, f"{name}: {out.dtype}{out.shape}, rule {expected}"


def check_inputs_untouched(name: str, k: int) -> None:
    """Read-only and strided inputs are taken, and nothing is written into them."""
    apply, arrays = sample(name, k)
    expected = value(apply(*arrays))
    copies = [a.copy() for a in arrays]
    strided = [np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a for a in arrays]
    for s in strided:
        s.flags.writeable = False
    np.testing.assert_array_equal(value(apply(*strided)), expected, err_msg=name)
    for a, c in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(a, c, err_msg=name)


def check_reads(name: str, k: int) -> None:
    """A declared read is read: with it missing, some rule of the op fails."""
    op = REGISTRY[name]
    apply, arrays = sample(name, k)
    for argnum in floats(arrays):
        declared = op.reads(argnum)
        if declared is None:
            continue
        for dropped in declared:
            replaced = frozenset(declared - {dropped})
            if not any(op.input_name(i) == dropped for i in range(len(arrays))) and dropped != "out":
                continue
            with patched_reads(op, argnum, replaced):
                x = Tensor(np.asarray(arrays[argnum]), None).requires_grad_()
                args = [x if i == argnum else a for i, a in enumerate(arrays)]
                out = apply(*args)
                try:
                    out.backward(np.ones(out.shape))
                except backlit.RuleError:
                    continue
            raise AssertionError(f"{name}: argument {argnum} declares {dropped!r} as read but does not read it")


class patched_reads:
    """Other reads for one argument of an op, for a while."""

    def __init__(self, op: Op, argnum: int, names: frozenset[str]) -> None:
        self.op, self.argnum, self.names = op, argnum, names

    def __enter__(self) -> None:
        declared = type(self.op).reads
        self.op.reads = lambda n: self.names if n == self.argnum else declared(self.op, n)  # type: ignore[method-assign]
        self.kept, self.op.plans = self.op.plans, {}

    def __exit__(self, *_: object) -> None:
        del self.op.reads
        self.op.plans = self.kept


DIFFERENTIAL = (check_differences, check_adjoint, check_second_order, check_batching, check_dtypes)

SELECTING = ("index", "max", "maximum", "min", "minimum", "put", "scatter_max", "scatter_min", "where", "window_pick")
SPARSE = ("fold", "pad", "scatter_add", "unfold", "window_put")


def check_masks(name: str, k: int) -> None:
    """What is not selected stays exactly zero through the infinite slope of a square root at 0, in both modes."""
    op = REGISTRY[name]
    apply, arrays = sample(name, k)
    sign = -1.0 if name in ("min", "minimum", "scatter_min") else 1.0
    arrays = [sign * (0.5 + abs(a)) if is_float(a.dtype) else a for a in arrays]
    rng = np.random.default_rng(7)

    def rooted(x: Any) -> Any:
        return sign * backlit.sqrt(sign * x)

    if name in SELECTING:
        out, pullback = vjp(apply, *arrays)
        cotangent = 1.0 + rng.random(out.shape)
        dead = {i: value(pullback(cotangent)[i]) == 0 for i in floats(arrays)}
        zeroed = [np.where(dead[i], 0.0, a) if i in dead else a for i, a in enumerate(arrays)]
        f = lambda *args: apply(*(rooted(x) if i in dead else x for i, x in enumerate(args)))
        pulled = vjp(f, *zeroed)[1](cotangent)
        _, pushed = jvp(f, tuple(zeroed), directions(zeroed, rng))
        assert np.isfinite(value(pushed)).all(), f"{name}: forward mode {value(pushed)}"
        for i, d in dead.items():
            got = value(pulled[i])
            assert np.isfinite(got).all() and (got[d] == 0).all(), f"{name}: reverse mode {got}"
    if name in SPARSE:
        f = lambda *args: backlit.sqrt(apply(*args))
        out, pushed = jvp(f, tuple(arrays), directions(arrays, rng))
        assert np.isfinite(value(pushed)).all(), f"{op.name}: forward mode {value(pushed)}"


def check_merge() -> None:
    """Contributions are summed where paths meet, in every mode."""
    x = np.array([0.7, -1.3])
    expected = 2 * x * np.exp(x * x) + 3 * x * x
    f = lambda x: backlit.sum(backlit.exp(x * x) + x * x * x)
    np.testing.assert_allclose(value(backlit.grad(f)(x)), expected, rtol=1e-14)
    leaf = backlit.tensor(x, requires_grad=True)
    f(leaf).backward()
    np.testing.assert_allclose(value(leaf.grad), expected, rtol=1e-14)
    _, pushed = jvp(f, (x,), (np.array([1.0, 0.0]),))
    np.testing.assert_allclose(value(pushed), expected[0], rtol=1e-14)


def slopes(f, *values):
    """The derivative at each value, which reverse and forward mode must agree on."""
    x = np.array(values, np.float64)
    reverse = np.asarray(grad(lambda x: f(x).sum())(x))
    forward = [jvp(f, (np.float64(v),), (np.float64(1.0),))[1].item() for v in values]
    np.testing.assert_array_equal(reverse, forward)
    return reverse.tolist()
