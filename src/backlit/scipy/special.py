"""SciPy's special functions, with its names and arguments; numbers and lists are float64 as there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.functional import activation
from backlit.numpy.composed import floating
from backlit.numpy.views import WEAK, lift, lift_all
from backlit.ops import elementwise, error_functions, exponential, gamma_itself, rounding, shape, statistics
from backlit.ops import gamma as gammas
from backlit.ops import special as basic

Axis = int | tuple[int, ...] | None


def _floating(x: Any) -> Tensor:
    return floating(lift(x))


def _one(name: str, function: Callable[..., Any], doc: str | None = None) -> Callable[..., Tensor]:
    """`function` of one array, in float64 unless that is of another float type."""

    def call(x: Any, out: Any = None) -> Tensor:
        if out is not None:
            raise ArgumentError(f"scipy.special.{name}: out= is not supported; assign the result{here()}")
        return function(_floating(x))  # type: ignore[no-any-return]

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc or (type(function) if hasattr(function, "notation") else function).__doc__
    return call


def _pair(x: Any, y: Any, name: str) -> list[Any]:
    """Two operands as floats; a Python number beside an array takes its dtype."""
    return [a if isinstance(a, WEAK) else _floating(a) for a in lift_all((x, y), name)]


erf, erfc, erfinv = _one("erf", basic.erf), _one("erfc", error_functions.erfc), _one("erfinv", error_functions.erfinv)
erfcinv = _one(
    "erfcinv", lambda x: error_functions.erfinv(1.0 - x), "Inverse of `erfc`; arguments below 1e-16 are lost in 1 - x."
)
ndtr = _one("ndtr", basic.normal_cdf, "The distribution function of the normal distribution.")
gamma, gammaln = _one("gamma", gamma_itself.gamma), _one("gammaln", gammas.lgamma)
digamma, psi = _one("digamma", gammas.digamma), _one("psi", gammas.digamma)
expit, log_expit = _one("expit", basic.sigmoid), _one("log_expit", activation.logsigmoid)
logit = _one("logit", exponential.logit)
exp2, exp10 = _one("exp2", exponential.exp2), _one("exp10", lambda x: elementwise.pow(10.0, x), "10 to the power `x`.")
expm1, log1p, cbrt = (_one(f.name, f) for f in (elementwise.expm1, elementwise.log1p, exponential.cbrt))
softplus = _one("softplus", basic.softplus)


def factorial(n: Any) -> Tensor:
    """`n`!, by the gamma function; 0 for negative `n`."""
    x = _floating(n)
    below = x < 0
    return elementwise.where(below, 0.0, gamma_itself.gamma(elementwise.where(below, 1.0, x) + 1.0))


def polygamma(n: Any, x: Any) -> Tensor:
    """The derivative of order `n`, an integer, of `digamma`."""
    order = n.item() if isinstance(n, (Tensor, np.ndarray)) else n
    if order != int(order):
        raise ArgumentError(f"scipy.special.polygamma: the order must be an integer, got {n}{here()}")
    return gammas.polygamma(int(order), _floating(x))


def betaln(a: Any, b: Any) -> Tensor:
    """The logarithm of the absolute value of the beta function: a difference, which loses digits for large arguments."""
    a, b = _floating(a), _floating(b)
    return gammas.lgamma(a) + gammas.lgamma(b) - gammas.lgamma(a + b)


def xlogy(x: Any, y: Any) -> Tensor:
    """`x` log(y), and 0 where `x` is 0 and `y` a number."""
    return exponential.xlogy(*_pair(x, y, "xlogy"))


def xlog1py(x: Any, y: Any) -> Tensor:
    """`x` log(1 + y), exact for small `y`, and 0 where `x` is 0 and `y` a number."""
    x, y = _pair(x, y, "xlog1py")
    nothing = elementwise.logical_and(elementwise.equal(x, 0), elementwise.logical_not(rounding.isnan(y)))
    return elementwise.where(nothing, 0.0, x * elementwise.log1p(elementwise.where(nothing, 1.0, y)))


def entr(x: Any) -> Tensor:
    """-`x` log(x), 0 at 0 and -inf below; its derivative at 0 is 0."""
    x = _floating(x)
    below = x < 0
    held = elementwise.where(below, 1.0, x)
    return elementwise.where(below, -float("inf"), 0.0 - exponential.xlogy(held, held))


def rel_entr(x: Any, y: Any) -> Tensor:
    """`x` log(x / y) for positive numbers, 0 where `x` is 0 and `y` is not negative, else inf; its derivative at x = 0 is 0."""
    return _divergence(x, y, whole=False)


def kl_div(x: Any, y: Any) -> Tensor:
    """`x` log(x / y) - `x` + `y` for positive numbers, `y` where `x` is 0 and `y` not negative, else inf."""
    return _divergence(x, y, whole=True)


def _divergence(x: Any, y: Any, whole: bool) -> Tensor:
    x, y = (_floating(a) for a in (x, y))
    inside = elementwise.logical_and(x > 0, y > 0)
    one, other = elementwise.where(inside, x, 1.0), elementwise.where(inside, y, 1.0)
    value = one * elementwise.log(one / other)
    value = value - one + other if whole else value
    nothing = elementwise.logical_and(elementwise.equal(x, 0), y >= 0)
    left = elementwise.where(nothing, y if whole else Tensor(np.zeros((), value.dtype)), float("inf"))
    lost = elementwise.logical_or(rounding.isnan(x), rounding.isnan(y))
    return elementwise.where(inside, value, elementwise.where(lost, float("nan"), left))


def huber(delta: Any, r: Any) -> Tensor:
    """r^2 / 2 up to `delta`, from there on a line; inf for negative `delta`."""
    delta, r = (_floating(a) for a in (delta, r))
    size = elementwise.abs(r)
    value = elementwise.where(size <= delta, 0.5 * r * r, delta * (size - 0.5 * delta))
    return elementwise.where(delta < 0, float("inf"), value)


def pseudo_huber(delta: Any, r: Any) -> Tensor:
    """delta^2 (sqrt(1 + (r / delta)^2) - 1), without cancellation for small r."""
    delta, r = (_floating(a) for a in (delta, r))
    ratio = r / delta
    return r * ratio * delta / (elementwise.sqrt(1.0 + ratio * ratio) + 1.0)  # type: ignore[no-any-return]


def logsumexp(a: Any, axis: Axis = None, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Any:
    """log(sum(b exp(a))) over `axis` without overflow; with `return_sign` the sign of the sum comes second."""
    x = _floating(a)
    if b is None and not return_sign:
        return statistics.logsumexp(x, axis=axis, keepdims=keepdims)
    weights = Tensor(np.ones((), x.dtype)) if b is None else _floating(b)
    x, weights = shape.broadcast_arrays(x, weights)
    used = elementwise.not_equal(weights, 0)
    largest = statistics.max(elementwise.where(used, x, -float("inf")), axis=axis, keepdims=True).detach()
    shift = elementwise.where(rounding.isfinite(largest), largest, 0.0)
    terms = elementwise.where(used, weights * elementwise.exp(x - shift), 0.0)
    total = statistics.sum(terms, axis=axis, keepdims=keepdims)
    shift = statistics.max(shift, axis=axis, keepdims=keepdims)
    sign = elementwise.sign(total)
    size = total * sign if return_sign else total
    out = elementwise.log(size) + shift
    return (out, sign) if return_sign else out


def softmax(x: Any, axis: Axis = None) -> Tensor:
    """exp(x) over its sum along `axis`, over all elements when None."""
    x = _floating(x)
    raised = elementwise.exp(x - statistics.max(x, axis=axis, keepdims=True).detach())
    return raised / statistics.sum(raised, axis=axis, keepdims=True)


def log_softmax(x: Any, axis: Axis = None) -> Tensor:
    """The logarithm of `softmax`."""
    x = _floating(x)
    return x - statistics.logsumexp(x, axis=axis, keepdims=True)  # type: ignore[no-any-return]


__all__ = [
    "betaln",
    "cbrt",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfinv",
    "exp2",
    "exp10",
    "expit",
    "expm1",
    "factorial",
    "gamma",
    "gammaln",
    "huber",
    "kl_div",
    "log1p",
    "log_expit",
    "log_softmax",
    "logit",
    "logsumexp",
    "ndtr",
    "polygamma",
    "pseudo_huber",
    "psi",
    "rel_entr",
    "softmax",
    "softplus",
    "xlog1py",
    "xlogy",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"backlit.scipy.special has no attribute {name!r}; dir(backlit.scipy.special) lists what there is"
    )
