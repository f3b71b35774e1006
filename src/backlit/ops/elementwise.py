"""Elementwise ops: arithmetic, exponentials, trigonometry, selection, comparisons."""

from __future__ import annotations

import cmath
import math
import operator
from abc import abstractmethod
from typing import Any

import numpy as np

from backlit.core.op import NUMBERS, REGISTRY, Elementwise, Value, bind, declare, operands
from backlit.core.tensor import Tensor, as_tensor


def as_float(x: Any) -> Any:
    """An array of real floats: integers and booleans in double precision."""
    if x.dtype.kind == "c":
        raise TypeError("defined for real numbers only")
    return x if x.dtype.kind in "fV" else x.astype(np.float64)


class _Unary(Elementwise):
    """An op of one argument; `wide` lists its domain for the generated tests."""

    domain: tuple[float, float] = (-2.0, 2.0)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x"})

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((3, 2),), {}), (((),), {}), (((0, 2),), {}), (((1,),), {})]


class _Binary(Elementwise):
    domain: tuple[float, float] = (0.3, 2.0)

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((3, 2), (3, 2)), {}), (((3, 1), (2,)), {}), (((), (2,)), {}), (((0, 2), (1, 2)), {})]


class Add(_Binary):
    """Sum of `x` and `y`."""

    name, notation, forward = "add", "{x} + {y}", staticmethod(operator.add)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        return 1.0


class Sub(_Binary):
    """Difference of `x` and `y`."""

    name, notation, forward = "sub", "{x} - {y}", staticmethod(operator.sub)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        return 1.0 if argnum == 0 else -1.0


class Mul(_Binary):
    """Product of `x` and `y`."""

    name, notation, forward = "mul", "{x} {y}", staticmethod(operator.mul)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"y"} if argnum == 0 else {"x"})

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        return y if argnum == 0 else x


class Div(_Binary):
    """Quotient of `x` and `y`; integers give floats."""

    name, notation, forward = "div", r"\frac{{{x}}}{{{y}}}", staticmethod(operator.truediv)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"y"} if argnum == 0 else {"y", "out"})

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        if argnum == 0:
            if isinstance(y, Tensor) or y:
                return 1.0 / y
            return math.nan if isinstance(y, complex) else math.copysign(math.inf, y)
        return -(out / y)


class Pow(_Binary):
    """`x` to the power `y`; the derivative in `y` at x = 0 is 0 for positive y."""

    name, notation, forward = "pow", "{x}^{{{y}}}", staticmethod(operator.pow)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "y"} if argnum == 0 else {"x", "out"})

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        if argnum == 0:
            if not isinstance(y, Tensor):
                return 0.0 if y == 0 else y * x ** (y - 1)
            return where(equal(y, 0), 0.0, y * x ** where(equal(y, 0), 1.0, y - 1))
        if not isinstance(x, Tensor):  # in double precision, whatever the dtype of y
            if isinstance(x, complex) or out.dtype.kind == "c":
                return 0.0 if x == 0 else out * cmath.log(x)
            return 0.0 if x == 0 else out * (math.log(x) if x > 0 else math.nan)
        return where(equal(x, 0), 0.0, out * log(where(equal(x, 0), 1.0, x)))


class Neg(_Unary):
    """Negative of `x`."""

    name, notation, forward = "neg", "-{x}", staticmethod(np.negative)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return -1.0


class Abs(_Unary):
    """Absolute value; its derivative at 0 is 0, and that of a complex number in the direction t is Re(conj(sign(x)) t)."""

    name, notation, forward = "abs", r"\left|{x}\right|", staticmethod(np.abs)
    holomorphic = False

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return sign(x) if x.dtype.kind != "c" else REGISTRY["conj"](sign(x))


class Sign(_Unary):
    """Sign of `x`, with derivative 0; of a complex number its direction, and 0 at 0."""

    name, notation, forward = "sign", r"\operatorname{{sign}} {x}", staticmethod(np.sign)

    def __call__(self, *args: Any) -> Tensor:
        x = args[0] if isinstance(args[0], Tensor) else as_tensor(args[0])
        if x.dtype.kind != "c":
            return super().__call__(x)
        return REGISTRY["direction"](x)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return 0.0


class FloorDivide(_Binary):
    """The largest integer not above `x / y`; its derivatives are 0."""

    name, notation = "floor_divide", r"\left\lfloor {x} / {y} \right\rfloor"
    forward = staticmethod(operator.floordiv)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        return 0.0


class Remainder(_Binary):
    """`x` minus `y` times the floor of `x / y`; the derivative ignores the jumps."""

    name, notation, forward = "remainder", r"{x} \bmod {y}", staticmethod(operator.mod)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset() if argnum == 0 else frozenset({"x", "y"})

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        return 1.0 if argnum == 0 else -floor_divide(x, y)


class Floor(_Unary):
    """The largest integer not above `x`; its derivative is 0."""

    name, notation, forward = "floor", r"\lfloor {x} \rfloor", staticmethod(np.floor)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return 0.0


class _FromOut(_Unary):
    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"out"})


class Exp(_FromOut):
    """Exponential."""

    name, notation, forward = "exp", "e^{{{x}}}", staticmethod(np.exp)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return out


class Log(_Unary):
    """Natural logarithm."""

    name, notation, forward = "log", r"\log {x}", staticmethod(np.log)
    domain = (0.3, 3.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return 1.0 / x


class Log1p(_Unary):
    """log(1 + x), exact for small `x`."""

    name, notation, forward = "log1p", r"\log(1 + {x})", staticmethod(np.log1p)
    domain = (-0.5, 3.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return 1.0 / (1.0 + x)


class Expm1(_Unary):
    """exp(x) - 1, exact for small `x`; the partial is taken from `x`, as `out` + 1 has no digits left in the tail."""

    name, notation, forward = "expm1", "e^{{{x}}} - 1", staticmethod(np.expm1)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return exp(x)


class Sqrt(_FromOut):
    """Square root; its derivative at 0 is inf."""

    name, notation, forward = "sqrt", r"\sqrt{{{x}}}", staticmethod(np.sqrt)
    domain = (0.3, 3.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return 0.5 / out


class Sin(_Unary):
    """Sine."""

    name, notation, forward = "sin", r"\sin {x}", staticmethod(np.sin)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return cos(x)


class Cos(_Unary):
    """Cosine."""

    name, notation, forward = "cos", r"\cos {x}", staticmethod(np.cos)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return -sin(x)


class Tanh(_FromOut):
    """Hyperbolic tangent; the partial is taken from `out`, so the pre-activation need not be kept."""

    name, notation, forward = "tanh", r"\tanh {x}", staticmethod(np.tanh)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return 1.0 - out * out


def ordered(function: Any) -> Any:
    """`function` of real numbers alone: NumPy orders complex ones by their parts."""

    def forward(x: Any, y: Any) -> Any:
        if (x if hasattr(x, "dtype") else y).dtype.kind == "c":
            raise TypeError("complex numbers have no order")
        return function(x, y)

    forward.__name__ = function.__name__
    return forward


class _Extremum(_Binary):
    """At a tie two arrays get one half each; against a Python number the number wins."""

    selects = True

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "y"})

    @abstractmethod
    def _wins(self, mine: Value, other: Value) -> Value:
        """Where `mine` is strictly the extreme one."""

    def live(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        mine, other = (x, y) if argnum == 0 else (y, x)
        # between arrays a NaN loses to nothing, so that it is seen in the gradient too
        return logical_not(self._wins(other, mine)) if isinstance(other, Tensor) else self._wins(mine, other)

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        mine, other = (x, y) if argnum == 0 else (y, x)
        if not isinstance(other, Tensor):
            return 1.0
        return where(equal(mine, other), Tensor(mine.dtype.type(0.5)), 1.0)


class Maximum(_Extremum):
    """The larger of `x` and `y`."""

    name, notation, forward = "maximum", r"\max({x}, {y})", staticmethod(ordered(np.maximum))

    def _wins(self, mine: Value, other: Value) -> Value:
        return greater(mine, other)


class Minimum(_Extremum):
    """The smaller of `x` and `y`."""

    name, notation, forward = "minimum", r"\min({x}, {y})", staticmethod(ordered(np.minimum))

    def _wins(self, mine: Value, other: Value) -> Value:
        return less(mine, other)


class Where(Elementwise):
    """`x` where `condition` is true, else `y`; what is not selected has a structurally zero cotangent."""

    name, notation = "where", r"[{condition}]\,{x} + [\lnot {condition}]\,{y}"
    inputs = ("condition", "x", "y")
    selects = True

    def __call__(self, *args: Any) -> Tensor:
        return bind(self, self.prepare(args, {}), {})

    @staticmethod
    def forward(condition: Any, x: Any, y: Any) -> Any:
        out = np.where(condition, x, y)
        wanted = getattr(x, "dtype", None) or getattr(y, "dtype", None)
        return out if wanted is None or out.dtype == wanted else out.astype(wanted)

    def is_condition(self, argnum: int) -> bool:
        return argnum == 0

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        condition, (x, y) = args[0] if args[0].__class__ in NUMBERS else as_tensor(args[0]), operands(args[1:])
        condition = condition if isinstance(condition, Tensor) else Tensor(np.asarray(condition))
        if condition.dtype != bool:
            condition = not_equal(condition, 0)
        if not isinstance(x, Tensor) and not isinstance(y, Tensor):
            x, y = (x * 1.0, y * 1.0) if float in (x.__class__, y.__class__) else (x, y)
            x = as_tensor(x)
        branches = [a for a in (x, y) if isinstance(a, Tensor)]
        if complex in (x.__class__, y.__class__) and branches[0].dtype.kind != "c":
            return self.align((condition, x, y))
        if all(a.shape == condition.shape and a.dtype == branches[0].dtype for a in branches):
            return condition, x, y
        return self.align((condition, x, y))

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"condition"})

    def partial(self, argnum: int, out: Value, condition: Value, x: Value, y: Value) -> Value:
        return 0.0 if argnum == 0 else 1.0

    def live(self, argnum: int, out: Value, condition: Value, x: Value, y: Value) -> Value:
        return condition if argnum == 1 else logical_not(condition)

    def samples(self) -> list[tuple[Any, ...]]:
        c = np.array([[True], [False], [True]])
        return [((c, (3, 2), (2,)), {}), ((c[:, 0], (3,), (3,)), {})]


class _Predicate(_Binary):
    """A result of booleans; nothing is differentiable through it."""

    differentiable = False

    def samples(self) -> list[tuple[Any, ...]]:
        x, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
        return [*super().samples(), ((x, y), {})]


def _predicate(name: str, notation: str, function: Any, doc: str) -> Any:
    stated = {"name": name, "notation": notation, "forward": staticmethod(function)}
    cls = type(name.title(), (_Predicate,), {**stated, "__doc__": doc, "__module__": __name__})
    return declare(cls)


add, sub, mul, div, pow = (declare(c) for c in (Add, Sub, Mul, Div, Pow))
floor, floor_divide, remainder = (declare(c) for c in (Floor, FloorDivide, Remainder))
neg, sign, exp, log, log1p = (declare(c) for c in (Neg, Sign, Exp, Log, Log1p))
abs = declare(Abs)
expm1, sqrt, sin, cos, tanh = (declare(c) for c in (Expm1, Sqrt, Sin, Cos, Tanh))
maximum, minimum, where = (declare(c) for c in (Maximum, Minimum, Where))

equal = _predicate("equal", "{x} = {y}", np.equal, "Whether `x` equals `y`.")
not_equal = _predicate("not_equal", r"{x} \ne {y}", np.not_equal, "Whether `x` differs from `y`.")
less = _predicate("less", "{x} < {y}", ordered(np.less), "Whether `x` is below `y`.")
less_equal = _predicate("less_equal", r"{x} \le {y}", ordered(np.less_equal), "Whether `x` is at most `y`.")
greater = _predicate("greater", "{x} > {y}", ordered(np.greater), "Whether `x` is above `y`.")
greater_equal = _predicate("greater_equal", r"{x} \ge {y}", ordered(np.greater_equal), "Whether `x` is at least `y`.")
logical_and = _predicate("logical_and", r"{x} \land {y}", np.logical_and, "Both.")
logical_or = _predicate("logical_or", r"{x} \lor {y}", np.logical_or, "Either.")
bitwise_and = _predicate("bitwise_and", r"{x} \mathbin{{\&}} {y}", np.bitwise_and, "Bits set in both.")
bitwise_or = _predicate("bitwise_or", r"{x} \mathbin{{|}} {y}", np.bitwise_or, "Bits set in either.")
bitwise_xor = _predicate("bitwise_xor", r"{x} \oplus {y}", np.bitwise_xor, "Bits set in one of both.")
logical_xor = _predicate("logical_xor", r"{x} \oplus {y}", np.logical_xor, "One of both.")


class LogicalNot(_Unary):
    """Negation of a boolean."""

    name, notation, forward = "logical_not", r"\lnot {x}", staticmethod(np.logical_not)
    differentiable = False


class BitwiseInvert(_Unary):
    """Every bit flipped; the negation of a boolean."""

    name, notation, forward = "bitwise_invert", r"\mathord{{\sim}} {x}", staticmethod(np.invert)
    differentiable = False


logical_not, bitwise_invert = declare(LogicalNot), declare(BitwiseInvert)


class _Shift(_Predicate):
    """Integers with their bits moved by `y` places."""

    def samples(self) -> list[tuple[Any, ...]]:
        x = np.array([1, 6, 40, 2**33], np.uint64)
        return [((x, np.array([0, 1, 2, 5], np.uint64)), {}), ((x, np.array(3, np.uint64)), {})]


class LeftShift(_Shift):
    """`x` times 2 to the `y`, in integers."""

    name, notation, forward = "left_shift", r"{x} \ll {y}", staticmethod(np.left_shift)


class RightShift(_Shift):
    """`x` divided by 2 to the `y`, rounded down, in integers."""

    name, notation, forward = "right_shift", r"{x} \gg {y}", staticmethod(np.right_shift)


left_shift, right_shift = declare(LeftShift), declare(RightShift)
