"""How far a compiled program may be from its evaluation: a bound for every element, carried from equation to equation.

With eps the distance of 1 from the next number, and D(x) the bound on the difference between both values of x:
- arithmetic, comparisons and moves of equal operands are equal to the bit: D = 0;
- x + y:  D(x) + D(y) + eps |x + y|;  x y:  |x| D(y) + |y| D(x) + D(x) D(y) + eps |x y|;  and so on for what is elementwise:
  the greatest change of the result within the bounds of its operands, and a rounding of both sides;
- a function of k units in the last place on one side and m on the other: the same, and (k + m) eps |f(x)|;
- a sum of n terms, in any order, with or without fused products: the sum of D(x), and n eps times the sum of |x|, as each
  order is within n eps / 2 (Higham, Accuracy and Stability of Numerical Algorithms, 4.2); a product of matrices likewise;
- a product of n factors the same with the product of |x| + D(x), where no order of them overflows or vanishes on the way;
- where a comparison might fall either way, the distance of what is chosen between.
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from backlit.compiler.ir import Literal
from backlit.core.dtypes import is_float
from backlit.core.quiet import silence, variable

MOVES = {"broadcast_to", "permute_dims", "reshape", "index", "pad", "concat", "put"}
STEPS = {"sign", "floor", "ceil", "trunc", "round"}
EXACT = {
    "add", "sub", "mul", "div", "neg", "abs", "sqrt", "maximum", "minimum", "copysign", "nextafter", "rsqrt", *STEPS,
}  # fmt: skip
TESTS = {"isnan", "isinf", "isfinite", "signbit"}
COMPARISONS = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
LOGIC = {
    "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor",
    "bitwise_invert", "left_shift", "right_shift",
}  # fmt: skip
# Units in the last place of both sides together: 4 of the native function and up to 4 of NumPy's.
FUNCTIONS = dict.fromkeys(
    (
        "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "normal_cdf", "sigmoid", "softplus", "pow", "exp2", "log2",
        "log10", "cbrt", "logaddexp", "xlogy", "logit", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh",
        "acosh", "atanh", "hypot", "sinc", "erfc", "erfinv", "lgamma", "digamma", "trigamma", "polygamma",
    ), 8,
)  # fmt: skip


def _info(dtype):
    return ml_dtypes.finfo(dtype)


def _eps(dtype):
    return float(_info(dtype).eps) if is_float(dtype) else 0.0


def _unit(x, dtype):
    """The rounding of both sides at values `x`."""
    if not is_float(dtype):
        return 0.0
    return np.maximum(_info(dtype).eps * np.abs(np.asarray(x, np.float64)), float(_info(dtype).smallest_subnormal))


def bounds(graph, arrays):
    """The bounds of the outputs of a graph: arrays of float64 like them, infinite where nothing can be said."""
    values = {v: np.asarray(a) for v, a in zip(graph.inputs, arrays, strict=True)}
    values.update(graph.consts)
    far = {v: np.zeros(np.shape(a)) for v, a in values.items()}
    token = variable.set(silence)
    try:
        for e in graph.eqns:
            operands = [a.value if isinstance(a, Literal) else values[a] for a in e.inputs]
            d = [np.zeros(()) if isinstance(a, Literal) else far[a] for a in e.inputs]
            out = np.asarray(e.op.forward(*operands, **e.params))
            values[e.out] = out
            found = _bound(e, operands, d, out)
            found = np.broadcast_to(np.asarray(found, np.float64), out.shape)
            far[e.out] = np.where(np.isnan(found), np.inf, found)
    finally:
        variable.reset(token)
    return [np.zeros(()) if isinstance(a, Literal) else far[a] for a in graph.outputs]


def _bound(e, operands, d, out):
    name, dtype = e.op.name, out.dtype
    sure = not any(x.any() for x in d)
    if name in MOVES:
        return _moved(e, operands, d)
    if name == "astype":
        return _converted(operands[0], d[0], dtype)
    if name in ("sum", "sum_to", "scatter_add"):
        return _summed(e, operands, d, out)
    if name == "matmul":
        return _product(operands, d, out)
    if name in ("max", "min"):
        return _extreme(e, operands[0], d[0], out)
    if name in ("cumsum", "cumprod", "recurrence"):
        return 0.0 if sure else _run_along(e, operands, d, out)
    if name == "prod":
        return _multiplied(e, operands[0], d[0], out)
    if name == "norm":
        return _norm(e, operands[0], d[0], out)
    if name == "cumulative_logsumexp":
        return _running_logsumexp(e, operands[0], d[0], out)
    if name == "logsumexp":
        return _logsumexp(operands[0], d[0], e.params["axis"], e.params["keepdims"], out)
    if name == "softmax_cross_entropy":
        return _cross_entropy(operands, d, out)
    if name in LOGIC or name in TESTS:
        return _joined(d)
    if name in COMPARISONS:
        return _compared(operands, d)
    if name == "where":
        c, x, y = (np.asarray(o) for o in operands)
        chosen = np.where(c, d[1], d[2])
        return np.where(d[0] > 0, np.abs(x.astype(float) - y.astype(float)) + d[1] + d[2], chosen)
    if name in FUNCTIONS:
        shift = 0.0 if sure else _shift(e, operands, d, out)
        return shift + FUNCTIONS[name] * _unit(np.abs(out) + shift, dtype)
    if sure:
        return 0.0  # equal bits, or the op's own forward on equal operands
    if name in EXACT:
        shift = _shift(e, operands, d, out)
        kept = name in ("neg", "abs", "maximum", "minimum", "copysign", *STEPS)
        rounded = 0.0 if kept else _unit(np.abs(out) + shift, dtype)
        return np.where(sum(d) > 0, shift + rounded, 0.0)
    return np.where(np.full(out.shape, True), np.inf, 0.0)


def _extreme(e, x, d, out):
    """Zeros of both signs are equal: which of them comes out is up to the order, NumPy's own with the layout of memory."""
    if not d.size:
        return 0.0
    along = {"axis": e.params["axis"], "keepdims": e.params["keepdims"]}
    shift = np.max(d, **along)
    if not is_float(out.dtype):
        return shift
    negative = np.signbit(x)
    both = np.any((x == 0) & negative, **along) & np.any((x == 0) & ~negative, **along)
    return shift + np.where((out == 0) & both, float(_info(out.dtype).smallest_subnormal), 0.0)


def _moved(e, operands, d):
    if e.op.name == "concat":
        return e.op.forward(*d, **e.params)
    if e.op.name == "put":
        indices = d[2:]
        base, new = d[:2]
        return (
            np.full(base.shape, np.inf)
            if any(i.any() for i in indices)
            else e.op.forward(base, np.broadcast_to(new, np.shape(operands[1])), *operands[2:], **e.params)
        )
    if any(i.any() for i in d[1:]):
        return np.inf
    return e.op.forward(d[0], *operands[1:], **e.params)


def _converted(x, d, dtype):
    if not d.any():
        return 0.0
    if dtype == bool:
        return np.where((d > 0) & (np.abs(np.asarray(x, float)) <= d), np.inf, 0.0)
    if x.dtype == bool:
        return np.where(d > 0, 1.0, 0.0)
    if dtype.kind in "iu":
        wraps = np.asarray(x, float)
        info = np.iinfo(dtype)
        inside = (wraps - d > info.min) & (wraps + d < info.max)
        return np.where(d > 0, np.where(inside, d + (is_float(x.dtype)), np.inf), 0.0)
    return np.where(d > 0, d + _unit(np.abs(np.asarray(x, float)) + d, dtype), 0.0)


def _whole(x):
    """Values as doubles, and where they are finite."""
    x = np.asarray(x).astype(float)
    return np.where(np.isfinite(x), np.abs(x), 0.0), np.isfinite(x)


def _determined(found, out, all_sure):
    """0 where a result that is not finite follows from equal operands that are not."""
    return (
        np.where(np.isfinite(out.astype(float)) | ~np.asarray(all_sure), found, 0.0) if is_float(out.dtype) else found
    )


def _summed(e, operands, d, out):
    x = operands[0]
    if x.dtype != bool and not is_float(x.dtype):
        return e.op.forward(d[0], *operands[1:], **e.params) if d[0].any() else 0.0
    if x.dtype == bool:
        return e.op.forward((d[0] > 0).astype(float), *operands[1:], **e.params)
    size, finite = _whole(x)
    ones = np.ones(x.shape)
    terms = np.asarray(e.op.forward(ones, *operands[1:], **e.params))
    spread = np.asarray(e.op.forward(d[0], *operands[1:], **e.params))
    total = np.asarray(e.op.forward(size + np.where(np.isfinite(d[0]), d[0], 0.0), *operands[1:], **e.params))
    infinite = np.asarray(e.op.forward((~finite).astype(float), *operands[1:], **e.params)) > 0
    rounded = np.where(terms > 1, terms * _eps(out.dtype) * total, 0.0)
    rounded = np.where(rounded + total > float(_info(out.dtype).max) / 2, np.inf, rounded)
    rounded += np.where((terms > 1) & (total > 0), float(_info(out.dtype).smallest_subnormal) * terms, 0.0)
    return np.where(infinite, np.where(spread > 0, np.inf, 0.0), spread + rounded)


def _product(operands, d, out):
    (x, y), (dx, dy) = operands, d
    if not is_float(out.dtype):
        return np.where(
            (np.matmul(np.abs(x).astype(float), dy) + np.matmul(dx, np.abs(y).astype(float))) > 0, np.inf, 0.0
        )
    (ax, fx), (ay, fy) = _whole(x), _whole(y)
    k = x.shape[-1]
    total = np.matmul(ax + dx, ay + dy)
    spread = np.matmul(ax, dy) + np.matmul(dx, ay) + np.matmul(dx, dy)
    tiny = float(_info(out.dtype).smallest_subnormal)
    rounded = np.where(total > float(_info(out.dtype).max) / 2, np.inf, k * (_eps(out.dtype) * total + tiny))
    infinite = np.matmul((~fx).astype(float), np.ones(y.shape)) + np.matmul(np.ones(x.shape), (~fy).astype(float)) > 0
    unsure = (
        np.matmul((dx > 0).astype(float), np.ones(y.shape)) + np.matmul(np.ones(x.shape), (dy > 0).astype(float)) > 0
    )
    return np.where(infinite, np.where(unsure, np.inf, 0.0), np.where(k == 0, 0.0, spread + rounded))


def _logsumexp(x, d, axis, keepdims, out):
    if not x.size:
        return 0.0
    n = math.prod(x.shape[a] for a in axis)
    most = np.max(d, axis=axis, keepdims=keepdims)
    size = np.where(np.isfinite(out), np.abs(out), 0.0)
    largest = np.max(np.where(np.isfinite(x), np.abs(x), 0.0), axis=axis, keepdims=keepdims)
    found = most + _eps(out.dtype) * (n + 12 + 4 * size + 2 * largest)
    return np.where(np.isfinite(out) | (most > 0), found, 0.0)


def _run_along(e, operands, d, out):
    """What bounds let a running total reach, over what it is, and a rounding of both for every place of the axis."""
    if not all(is_float(np.asarray(o).dtype) for o in operands):
        return np.full(out.shape, np.inf)
    size = [np.abs(np.asarray(o).astype(float)) for o in operands]
    reach = e.op.forward(*(s + b for s, b in zip(size, d, strict=True)), **e.params)
    spread = reach - e.op.forward(*size, **e.params)
    rounded = 4 * out.shape[e.params["axis"]] * _unit(reach, out.dtype)
    return np.where(np.isfinite(reach) & (reach < float(_info(out.dtype).max) / 2), spread + rounded, np.inf)


def _multiplied(e, x, d, out):
    if not is_float(out.dtype):
        return np.where(e.op.forward(d.astype(float), **e.params) > 0, np.inf, 0.0) if d.any() else 0.0
    over, size = dict(e.params), np.abs(x.astype(float))
    product = lambda a: np.prod(a.astype(np.longdouble), **over)
    n = product(np.full(x.shape, 2.0)).astype(float)
    most, least = product(np.maximum(size + d, 1)), product(np.where(size > 0, np.minimum(size, 1), 1))
    info = _info(np.float32 if out.dtype.itemsize == 2 else out.dtype)
    safe = (most < float(info.max) / 2) & (least > float(info.tiny))
    shift = product(size + d) - product(size) if d.any() else 0.0
    found = shift + (np.log2(n) + 1) * _eps(out.dtype) * product(size + d)
    unknown = np.where(np.sum(np.isnan(size), **over) * (product(d == 0) > 0), 0.0, np.inf)
    return np.where(safe, found, unknown).astype(float)


def _norm(e, x, d, out):
    p, over = e.params["p"], {k: v for k, v in e.params.items() if k != "p"}
    n = np.sum(np.ones(x.shape), **over)
    spread = np.sum(d, **over) if p >= 1 else np.where(np.sum(d, **over) > 0, np.inf, 0.0)
    size = np.abs(out.astype(float))
    found = spread + _unit(size, out.dtype) * ((n + 8) / abs(p) + 20)
    found = np.where(size + found > float(_info(out.dtype).max) / 2, np.inf, found)
    return _determined(np.where(np.isfinite(size) | (spread > 0), found, np.inf), out, np.sum(d, **over) == 0)


def _running_logsumexp(e, x, d, out):
    run = lambda how, a: (
        np.flip(how.accumulate(np.flip(a, e.params["axis"]), axis=e.params["axis"]), e.params["axis"])
        if e.params["reverse"]
        else how.accumulate(a, axis=e.params["axis"])
    )
    finite = lambda a: np.where(np.isfinite(a.astype(float)), np.abs(a.astype(float)), 0.0)
    each = 16 * _unit(np.maximum(np.maximum(finite(out), run(np.maximum, finite(x))), 1.0), out.dtype)
    return _determined(run(np.maximum, d) + run(np.add, each), out, run(np.maximum, d) == 0)


def _cross_entropy(operands, d, out):
    x, y = operands
    n = x.shape[-1]
    if not x.size:
        return 0.0
    lse = _eps(out.dtype) * (n + 12)
    ax, ay = _whole(x)[0], _whole(y)[0]
    spread = ax.max(-1, keepdims=True)
    each = 2 * d[0].max(-1, keepdims=True) + lse + 8 * _eps(out.dtype) * (spread + ax)
    loss = 2 * spread + math.log(max(n, 1))
    total = np.sum(ay * each + d[1] * (loss + each), axis=-1)
    found = total + n * _eps(out.dtype) * np.sum(ay * loss, axis=-1)
    return np.where(np.isfinite(out) | (np.max(d[0], -1) + np.max(d[1], -1) > 0), found, np.inf)


def _joined(d):
    return np.where(sum((x > 0).astype(float) for x in d) > 0, np.inf, 0.0)


def _compared(operands, d):
    if not any(x.any() for x in d):
        return 0.0
    x, y = (np.asarray(o).astype(float) for o in operands)
    slack = d[0] + d[1]
    return np.where((slack > 0) & ~(np.abs(x - y) > slack), np.inf, 0.0)


def _shift(e, operands, d, out):
    """The greatest change of an elementwise result within the bounds of its operands.

    The ops here are monotone in each operand between the corners, or change no faster than their operand. An operand of which
    nothing is known may be NaN, as a product whose parts overflow before a 0 comes, and then so is the result.
    """
    unknown = np.isinf(sum(d))
    shift = _shift_of_known(e, operands, d, out)
    return np.where(unknown, np.inf, shift) if np.any(unknown) else shift


def _shift_of_known(e, operands, d, out):
    """The same where something is known of every operand."""
    name = e.op.name
    x = [np.asarray(o).astype(float) for o in operands]
    if name in ("sin", "cos"):
        return d[0]
    if name in ("add", "sub"):
        return d[0] + d[1]
    if name in ("maximum", "minimum"):
        return np.maximum(d[0], d[1])
    if name == "mul":
        return np.abs(x[0]) * d[1] + np.abs(x[1]) * d[0] + d[0] * d[1]
    if name == "div":
        room = np.abs(x[1]) - d[1]
        return np.where(
            room > 0,
            (d[0] + np.abs(x[0] / x[1]) * d[1]) / np.where(room > 0, room, 1.0),
            np.where(d[0] + d[1] > 0, np.inf, 0.0),
        )
    if name in ("neg", "abs"):
        return d[0]
    if name in STEPS - {"sign"}:
        step = e.op.forward
        return np.maximum(step(x[0] + d[0]) - step(x[0]), step(x[0]) - step(x[0] - d[0]))
    if name == "nextafter":
        return d[0]
    if name == "copysign":
        return d[0] + np.where(np.abs(x[1]) <= d[1], np.where(d[1] > 0, 2 * np.abs(x[0]), 0.0), 0.0)
    if name == "sign":
        return np.where(np.abs(x[0]) <= d[0], np.where(d[0] > 0, 2.0, 0.0), 0.0)
    if name == "sqrt":
        low = np.maximum(x[0] - d[0], 0.0)
        return np.maximum(np.sqrt(x[0] + d[0]) - np.sqrt(x[0]), np.sqrt(x[0]) - np.sqrt(low))
    corners = []
    for signs in np.ndindex(*(2,) * len(x)):
        moved = [a + (2 * s - 1) * b for a, b, s in zip(x, d, signs, strict=True)]
        corners.append(np.abs(np.asarray(e.op.forward(*moved, **e.params)) - np.asarray(e.op.forward(*x, **e.params))))
    worst = np.max([np.where(np.isnan(c), np.inf, c) for c in np.broadcast_arrays(*corners)], axis=0)
    if name == "pow":
        worst = np.where((np.abs(x[0]) <= d[0]) & (sum(d) > 0), np.inf, worst)
    # the corners are differences of doubles themselves
    return np.where(sum(d) > 0, worst + 4e-16 * np.abs(np.asarray(out, float)), 0.0)


def compare(graph):
    """What `watched.check_program` compares with: within the bounds, bit by bit where these are 0."""

    def of(arrays):
        far = bounds(graph, arrays)
        return lambda got, want, k: check(got, want, far[k], k)

    return of


def check(got, want, d, k=0):
    """Raises where an element is further off than `d`."""
    with np.errstate(all="ignore"):
        near = (d > 0) & (np.isinf(d) | (np.abs(got.astype(float) - want.astype(float)) <= d))
    same = got == want
    if is_float(got.dtype):
        same = (np.isnan(got) & np.isnan(want)) | (same & (np.signbit(got) == np.signbit(want)))
    wrong = ~(same | near)
    if np.any(wrong):
        at = tuple(np.argwhere(wrong)[0])
        raise AssertionError(
            f"output {k} at {list(map(int, at))} of {list(got.shape)}: got {got[at]!r}, want {want[at]!r}, "
            f"allowed {float(d[at])!r}; {int(np.sum(wrong))} of {got.size} are wrong"
        )
