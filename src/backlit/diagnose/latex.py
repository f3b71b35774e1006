"""Formulas in LaTeX, in the subset that KaTeX draws; brackets stand only where they are needed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.op import REGISTRY, Elementwise
from backlit.diagnose.formula import (
    ATOM,
    INFIX,
    POWER,
    PRODUCT,
    SUM,
    UNARY,
    Constant,
    Formula,
    Symbol,
    Term,
    Writer,
    is_number,
    number_text,
    shared_parts,
    transposed,
)

SMALL = 9  # an array of at most so many elements is drawn as a matrix
_OPEN = SUM - 1  # a big sum reaches as far to the right as it can, so it is bracketed wherever more may follow
_SIGNS = {
    "equal": "=", "not_equal": r"\ne", "less": "<", "less_equal": r"\le", "greater": ">", "greater_equal": r"\ge",
    "logical_or": r"\lor", "bitwise_or": r"\mathbin{|}", "logical_xor": r"\oplus", "bitwise_xor": r"\oplus",
    "logical_and": r"\land", "bitwise_and": r"\mathbin{\&}", "add": "+", "sub": "-", "remainder": r"\bmod",
}  # fmt: skip
_FUNCTION = re.compile(r"(\\(?:operatorname\{\{\w+\}\}|arg\\(?:max|min)|[a-z]+)(?:[_^](?:\{\{-?\w+\}\}|\w))?) \{x\}")
_PLACE = re.compile(r"\{(\w+)\}")
_NUMBER = re.compile(r"(-?)([\d.]+)(?:e([+-]\d+))?")


def latex(formula: Formula, shapes: bool = False) -> str:
    """The formula in LaTeX; with `shapes`, the shape of each factor stands under it.

    A long part that occurs more than once is given a name and told after. Costs time in proportion to the formula.
    """
    shared = shared_parts(formula)
    writer = LatexWriter(_called, {id(t): latex_name(name) for t, name in shared}, shapes)
    told = [rf"{writer.names[id(t)]} = {writer.write(t, told=True)[0]}" for t, _ in shared]
    return writer.write(formula)[0] + (r" \quad\text{with}\quad " + r",\; ".join(told) if told else "")


def _called(symbol: Symbol) -> str:
    return symbol.name if symbol.name.startswith("\\") else latex_name(symbol.name)  # placeholders are LaTeX already


def latex_name(name: str) -> str:
    """A name as LaTeX: one letter in italics, digits behind it as an index, longer names in upright letters."""
    if match := re.fullmatch(r"([A-Za-z])_?(\d+)", name):
        return f"{match[1]}_{{{match[2]}}}"
    if len(name) == 1 and name.isalpha():
        return name
    return rf"\mathrm{{{escaped(name)}}}"


def escaped(text: str) -> str:
    """Text with the characters that mean something to LaTeX escaped."""
    special = {"\\": r"\backslash{}", "^": r"\hat{}", "~": r"\sim{}", "'": r"{\prime}", " ": r"\ "}
    return "".join(special.get(c, "\\" + c if c in "#$%&_{}" else c) for c in text)


def latex_number(x: Any) -> str:
    """A number to eight digits, with a power of ten where `number_text` has an exponent."""
    body = number_text(x)
    if match := _NUMBER.fullmatch(body):
        sign, digits, exponent = match.groups()
        power = "" if exponent is None else f"10^{{{int(exponent)}}}"
        return sign + (digits if not power else power if digits == "1" else rf"{digits} \cdot {power}")
    return {"inf": r"\infty", "-inf": r"-\infty"}.get(body, rf"\mathrm{{{body}}}")


def latex_array(value: Any) -> str | None:
    """A number, or an array of few elements and at most two axes, as a matrix; None for any other."""
    array = np.asarray(value)
    if not array.ndim:
        return latex_number(array[()])
    if array.ndim > 2 or not 0 < array.size <= SMALL:
        return None
    rows = (" & ".join(map(latex_number, row)) for row in np.atleast_2d(array))
    return r"\begin{bmatrix} " + r" \\ ".join(rows) + r" \end{bmatrix}"


def shape_text(shape: tuple[int, ...]) -> str:
    """Lengths of the axes, as in 3 x 4."""
    return r" \times ".join(map(str, shape))


class LatexWriter(Writer):
    """Writes formulas in LaTeX, each part with its precedence."""

    def __init__(
        self, of_symbol: Callable[[Symbol], str], names: dict[int, str] | None = None, shapes: bool = False
    ) -> None:
        super().__init__(of_symbol, names)
        self.shapes = shapes

    def write(self, formula: Formula, told: bool = False) -> tuple[str, int]:
        if isinstance(formula, Symbol):
            return self._under(self.of_symbol(formula), formula.shape), ATOM
        if isinstance(formula, Constant):
            return self._constant(formula)
        if not told and id(formula) in self.names:
            return self._under(self.names[id(formula)], formula.shape), ATOM
        op, args = formula.op, formula.args
        special = getattr(self, f"op_{op}", None)
        if special is not None:
            return special(formula)  # type: ignore[no-any-return]
        if op in _SIGNS and len(args) == 2:
            precedence = INFIX[op][1]
            before, after = self._dropped(formula)
            left = self.within(before, precedence + (precedence == 1))
            return f"{left} {_SIGNS[op]} {self._right(after, precedence + 1)}", precedence
        return self._by_notation(formula)

    def _under(self, body: str, shape: tuple[int, ...]) -> str:
        return rf"\underset{{{shape_text(shape)}}}{{{body}}}" if self.shapes and shape else body

    def _constant(self, formula: Constant) -> tuple[str, int]:
        array = np.asarray(formula.value)
        repeated = array.size and not any(array.strides)
        body = latex_number(array.flat[0]) if repeated else latex_array(array)
        if body is None:
            body = self._under(r"\mathrm{array}", array.shape)
        return body, UNARY if body.startswith("-") else PRODUCT if r"\cdot" in body and array.size == 1 else ATOM

    def _right(self, formula: Formula, least: int) -> str:
        body = self.within(formula, least)
        return f"({body})" if body.startswith("-") else body

    def _dropped(self, formula: Term) -> list[Formula]:
        """The arguments of an elementwise op, of which one that was only repeated to the shape of another stands alone."""
        args = list(formula.args)
        kept = [not (isinstance(a, Term) and a.op == "broadcast_to") and a.shape == formula.shape for a in args]
        if any(kept):
            args = [a.args[0] if isinstance(a, Term) and a.op == "broadcast_to" else a for a in args]
        return args

    def op_mul(self, formula: Term) -> tuple[str, int]:
        x, y = self._dropped(formula)
        sign = r"\odot" if x.shape and y.shape else r"\cdot"
        return f"{self.within(x, PRODUCT)} {sign} {self._right(y, PRODUCT + 1)}", PRODUCT

    def op_matmul(self, formula: Term) -> tuple[str, int]:
        x, y = formula.args
        return rf"{self.within(x, PRODUCT)} \, {self._right(y, PRODUCT + 1)}", PRODUCT

    def op_div(self, formula: Term) -> tuple[str, int]:
        x, y = self._dropped(formula)
        return rf"\frac{{{self.write(x)[0]}}}{{{self.write(y)[0]}}}", POWER

    def op_pow(self, formula: Term) -> tuple[str, int]:
        x, y = self._dropped(formula)
        return f"{{{self.within(x, ATOM)}}}^{{{self.write(y)[0]}}}", POWER

    def op_exp(self, formula: Term) -> tuple[str, int]:
        return f"e^{{{self.write(formula.args[0])[0]}}}", POWER

    def op_neg(self, formula: Term) -> tuple[str, int]:
        return "-" + self._right(formula.args[0], PRODUCT), SUM

    def op_logical_not(self, formula: Term) -> tuple[str, int]:
        return rf"\lnot {self.within(formula.args[0], UNARY)}", UNARY

    def op_where(self, formula: Term) -> tuple[str, int]:
        condition, x, y = self._dropped(formula)
        if is_number(y, 0):
            sign = r"\odot" if condition.shape and x.shape else r"\cdot"
            chosen = rf"\left[{self.write(condition)[0]}\right]"
            return (chosen, ATOM) if is_number(x, 1) else (f"{chosen} {sign} {self._right(x, PRODUCT + 1)}", PRODUCT)
        cases = rf"{self.write(x)[0]} & \text{{if }} {self.write(condition)[0]} \\ {self.write(y)[0]} & \text{{else}}"
        return rf"\begin{{cases}} {cases} \end{{cases}}", _OPEN

    def op_permute_dims(self, formula: Term) -> tuple[str, int]:
        axes = formula.params["axes"]
        if transposed(axes) and axes[-1] == len(axes) - 2:  # the last two alone
            shapes, self.shapes = self.shapes, False
            body = rf"{{{self.within(formula.args[0], ATOM)}}}^{{\mathsf{{T}}}}"
            self.shapes = shapes
            return self._under(body, formula.shape), POWER
        return self._call(r"\operatorname{permute}", [str(list(axes))], formula.args)

    def op_sum(self, formula: Term) -> tuple[str, int]:
        return self._summed(formula, formula.params["axis"])

    def op_sum_to(self, formula: Term) -> tuple[str, int]:
        wide, shape = formula.args[0].shape, formula.shape
        lead = len(wide) - len(shape)
        inner = (lead + i for i, n in enumerate(shape) if n == 1 and wide[lead + i] != 1)
        return self._summed(formula, (*range(lead), *inner))

    def _summed(self, formula: Term, axes: tuple[int, ...]) -> tuple[str, int]:
        x = formula.args[0]
        below = [] if len(axes) == len(x.shape) else [_axes(axes)]
        body = self._right(x, PRODUCT)
        return r"\textstyle\sum" + "".join(f"_{{{b}}}" for b in below) + f" {body}", _OPEN

    def op_reshape(self, formula: Term) -> tuple[str, int]:
        return self._call(r"\operatorname{reshape}", [shape_text(formula.shape) or "()"], formula.args)

    def op_broadcast_to(self, formula: Term) -> tuple[str, int]:
        return self._call(r"\operatorname{broadcast}", [shape_text(formula.shape)], formula.args)

    def op_astype(self, formula: Term) -> tuple[str, int]:
        return self._call(rf"\operatorname{{{escaped(str(formula.params['dtype']))}}}", [], formula.args)

    def op_softmax(self, formula: Term) -> tuple[str, int]:
        return self._over_axes(r"\operatorname{softmax}", formula)

    def op_logsumexp(self, formula: Term) -> tuple[str, int]:
        return self._over_axes(r"\operatorname{logsumexp}", formula)

    def op_cumsum(self, formula: Term) -> tuple[str, int]:
        return self._along(r"\operatorname{cumsum}", formula)

    def op_cumprod(self, formula: Term) -> tuple[str, int]:
        return self._along(r"\operatorname{cumprod}", formula)

    def op_cumulative_logsumexp(self, formula: Term) -> tuple[str, int]:
        return self._along(r"\operatorname{logcumsumexp}", formula)

    def op_recurrence(self, formula: Term) -> tuple[str, int]:
        return self._along(r"\operatorname{recurrence}", formula)

    def _along(self, head: str, formula: Term) -> tuple[str, int]:
        """A scan: the axis where there are several, an arrow where it goes from the end on, < where it leaves itself out."""
        params = formula.params
        axis = [str(params["axis"])] if len(formula.shape) > 1 else []
        how = [r"\leftarrow"] * params["reverse"] + ["<"] * params.get("exclusive", False)
        return self._call(head, [r"\,".join(axis + how)], formula.args)

    def op_index(self, formula: Term) -> tuple[str, int]:
        return rf"{{{self.within(formula.args[0], ATOM)}}}_{{{self._picked(formula)}}}", POWER

    def op_scatter_add(self, formula: Term) -> tuple[str, int]:
        return self._call(r"\operatorname{scatter}", [self._picked(formula)], formula.args[:1])

    def op_put(self, formula: Term) -> tuple[str, int]:
        into, new = formula.args[:2]
        places = self._picked(formula)
        return rf"{{{self.within(into, ATOM)}}}_{{{places} \leftarrow {self.write(new)[0]}}}", POWER

    def op_concat(self, formula: Term) -> tuple[str, int]:
        return self._call(r"\operatorname{concat}", [_axes((formula.params["axis"],))], formula.args)

    def op_pad(self, formula: Term) -> tuple[str, int]:
        return self._call(r"\operatorname{pad}", [escaped(str(formula.params["width"]))], formula.args)

    def _picked(self, formula: Term) -> str:
        shapes, self.shapes = self.shapes, False
        body = self.index_text(formula)
        self.shapes = shapes
        return body.replace(", ", r",\,")

    def _over_axes(self, head: str, formula: Term) -> tuple[str, int]:
        axis = formula.params["axis"]
        axes = axis if isinstance(axis, tuple) else (axis,)
        whole = axis is None or len(axes) == len(formula.args[0].shape)
        return self._call(head, [] if whole else [_axes(axes)], formula.args)

    def _call(self, head: str, below: list[str], args: tuple[Formula, ...]) -> tuple[str, int]:
        inner = ", ".join(self.write(a)[0] for a in args)
        tall = r"\frac" in inner or r"\begin" in inner or r"\underset" in inner
        opening, closing = (r"\left(", r"\right)") if tall else ("(", ")")
        return head + "".join(f"_{{{b}}}" for b in below if b) + opening + inner + closing, ATOM

    def _by_notation(self, formula: Term) -> tuple[str, int]:
        op = REGISTRY.get(formula.op)
        notation = "" if op is None else op.notation
        if not notation:
            return self._call(rf"\operatorname{{{escaped(formula.op)}}}", [], formula.args)
        if match := _FUNCTION.fullmatch(notation):
            head = match[1].replace("{{", "{").replace("}}", "}")
            if "axis" in formula.params:
                return self._over_axes(head, formula)
            return self._call(head, [], formula.args)
        assert op is not None
        args = self._dropped(formula) if isinstance(op, Elementwise) else list(formula.args)
        filled = {
            op.input_name(i): self.within(a, 0 if _enclosed(notation, op.input_name(i)) else ATOM)
            for i, a in enumerate(args)
        }
        closed = notation.endswith((")", "|", "floor", "ceil", "}}")) and not notation.startswith("-")
        return notation.format(**filled), ATOM if closed else _OPEN


def _axes(axes: tuple[int, ...]) -> str:
    return rf"\text{{{'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}}}"


def _enclosed(notation: str, name: str) -> bool:
    """Whether an argument stands between brackets of its own in a notation."""
    around = [
        (notation[: m.start()].rstrip(), notation[m.end() :].lstrip())
        for m in _PLACE.finditer(notation)
        if m[1] == name
    ]
    return all(
        before.endswith(("(", "[", "{", "|", ",", "floor", "ceil"))
        and after.startswith((")", "]", "}", r"\right", ",", r"\rfloor", r"\rceil"))
        for before, after in around
    )
