"""Reads the LaTeX of formulas back and computes it, so that a bracket too few or too many shows."""

from __future__ import annotations

import re

import numpy as np

TOKEN = re.compile(
    r"\\text\{[^}]*\}|\\mathrm\{\w+\}|\\mathsf\{T\}|\\(?:begin|end)\{\w+\}|\\operatorname\{\w+\}(?:\^\{-1\})?|\\log_\{10\}|\\log_2|\\psi_1|"
    r"\\sqrt\[3\]|\\arg\{\d+\}|\\mathbin\{[^}]*\}|\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|s_\{\d+\}|[a-z]|\S"
)
COMPARE = {
    "=": np.equal,
    r"\ne": np.not_equal,
    "<": np.less,
    r"\le": np.less_equal,
    ">": np.greater,
    r"\ge": np.greater_equal,
}


def along(function):
    """A scan as it is told: an axis, an arrow where it goes from the end on, < where it leaves itself out."""

    def call(*args):
        *values, below = args
        axis = int((re.findall(r"\d+", below) or [0])[0])
        turn = (lambda a: np.flip(a, axis)) if r"\leftarrow" in below else lambda a: a
        found = function(*(turn(v) for v in values), axis)
        if "<" in below:
            found = np.insert(np.delete(found, -1, axis), 0, 1.0, axis)
        return turn(found)

    return call


def recurrence(x, y, axis):
    x, out = np.moveaxis(x, axis, 0), np.array(np.moveaxis(y, axis, 0))
    for i in range(1, len(out)):
        out[i] += x[i] * out[i - 1]
    return np.moveaxis(out, 0, axis)


def padded(x, below):
    width = np.array(re.findall(r"\d+", below), int).reshape(-1, 2)
    return np.pad(x, width)


SCANS = {
    r"\operatorname{pad}": padded, r"\operatorname{cumsum}": along(np.cumsum), r"\operatorname{cumprod}": along(np.cumprod),
    r"\operatorname{logcumsumexp}": along(np.logaddexp.accumulate), r"\operatorname{recurrence}": along(recurrence),
}  # fmt: skip


class Reader:
    """Recursive descent, from what binds least to what binds most, as `formula.py` orders its ops."""

    def __init__(self, names: dict, functions: dict) -> None:
        self.names, self.functions = names, SCANS | functions

    def read(self, latex: str):
        main, _, told = latex.partition(r" \quad\text{with}\quad ")
        for part in told.split(r",\; ") if told else []:
            name, _, body = part.partition(" = ")
            self.names[name] = self._all(body)
        return self._all(main)

    def _all(self, latex: str):
        self.tokens, self.at = TOKEN.findall(latex), 0
        found = self.comparison()
        assert self.at == len(self.tokens), f"{latex}: left over {self.tokens[self.at :]}"
        return found

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        assert not expected or token == expected, f"expected {expected}, got {token!r} in {' '.join(self.tokens)}"
        self.at += 1
        return token

    def group(self):
        self.take("{")
        found = self.comparison()
        self.take("}")
        return found

    def comparison(self):
        left = self.logic(0)
        while self.peek() in COMPARE:
            compare = COMPARE[self.take()]
            left = compare(left, self.logic(0))
        return left

    def logic(self, level: int):
        if level == 3:
            return self.sum()
        signs = ((r"\lor", r"\mathbin{|}"), (r"\oplus",), (r"\land", r"\mathbin{\&}"))[level]
        left = self.logic(level + 1)
        while self.peek() in signs or (self.peek() == r"\mathbin{\&}" and level == 2):
            self.take()
            right = self.logic(level + 1)
            left = (np.logical_or, np.logical_xor, np.logical_and)[level](left, right)
        return left

    def sum(self):
        left = self.negated()
        while self.peek() in ("+", "-"):
            sign = self.take()
            right = self.product()
            left = left + right if sign == "+" else left - right
        return left

    def negated(self):
        if self.peek() == "-":
            self.take()
            return -self.product()
        return self.product()

    def product(self):
        if self.peek() == r"\textstyle":
            return self.big_sum()
        if self.peek() == r"\lnot":
            self.take()
            return np.logical_not(self.power())
        left = self.power()
        while self.peek() in (r"\odot", r"\cdot", r"\,", r"\bmod", "/", r"\operatorname{sign}", r"\star"):
            sign = self.take() if self.peek() != r"\operatorname{sign}" else r"\cdot"
            while sign.startswith(r"\star") and self.peek() in ("^", "_"):
                sign += "".join(self.take() for _ in range(4))
            right = self.big_sum() if self.peek() == r"\textstyle" else self.power()
            if sign.startswith(r"\star"):
                left = self.functions[sign](left, right)
            elif sign == r"\,":
                left = np.matmul(left, right)
            elif sign == "/":
                left = left / right
            else:
                left = np.mod(left, right) if sign == r"\bmod" else left * right
        return left

    def axes(self):
        if self.peek() != "_":
            return None
        self.take("_")
        self.take("{")
        found = re.findall(r"\d+", self.take())
        self.take("}")
        return tuple(int(a) for a in found)

    def big_sum(self):
        self.take(r"\textstyle")
        self.take(r"\sum")
        axes = self.axes()
        return np.sum(self.product(), axis=axes, keepdims=True)

    def power(self):
        base = self.atom()
        while self.peek() in ("^", "_"):
            sign = self.take()
            if self.tokens[self.at : self.at + 2] == ["{", "["]:
                base = self.picked(base)
            elif sign == "^" and self.tokens[self.at : self.at + 3] == ["{", r"\mathsf{T}", "}"]:
                self.at += 3
                base = np.swapaxes(base, -1, -2)
            else:
                exponent = self.group() if self.peek() == "{" else float(self.take())
                base = np.power(np.asarray(base, float), exponent)
        return base

    def picked(self, base):
        self.take("{")
        index, depth = "", 0
        while depth or self.peek() != "]":
            token = self.take()
            depth += (token == "[") - (token == "]")
            index += "," if token == r"\," else "" if token == "," else token
            if depth == 0 and token == "]":
                break
        if self.peek() == "]":
            index += self.take()
        index = re.sub(r"\\arg\{(\d+)\}", r"arg\1", index)
        key = eval(f"s{index}", {"s": np.s_, **{f"arg{k}": v for k, v in self.arrays().items()}})
        if self.peek() == r"\leftarrow":
            self.take()
            base = np.array(base)
            base[key] = self.comparison()
        else:
            base = np.asarray(base)[key]
        self.take("}")
        return base

    def arrays(self):
        return {re.findall(r"\d+", n)[0]: v for n, v in self.names.items() if n.startswith(r"\arg")}

    def atom(self):
        token = self.peek()
        self.take()
        if token == "{":  # which nobody sees: no bracket
            found = self.atom()
            self.take("}")
            return found
        if token == "(":
            found = self.comparison()
            self.take(")")
            return found
        if token == r"\left":
            opening = self.take()
            if opening == r"\lfloor":
                found = np.floor(self.comparison())
                self.take(r"\right")
                self.take(r"\rfloor")
                return found
            found = self.comparison()
            self.take(r"\right")
            self.take({"(": ")", "[": "]", "|": "|"}[opening])
            return {"(": found, "[": np.asarray(found, float), "|": np.abs(found)}[opening]
        if token == r"\lfloor":
            found = np.floor(self.comparison())
            self.take(r"\rfloor")
            return found
        if token == r"\frac":
            above = self.group()
            return above / np.asarray(self.group(), float)
        if token in (r"\sqrt", r"\sqrt[3]"):
            return (np.sqrt if token == r"\sqrt" else np.cbrt)(self.group())
        if token == "e":
            self.take("^")
            return np.exp(self.group())
        if token == r"\infty":
            return np.inf
        if token == r"\begin{cases}":
            return self.cases()
        if token == r"\begin{bmatrix}":
            return self.matrix()
        if token in self.names:
            return self.names[token]
        if re.fullmatch(r"\d+(\.\d+)?", token):
            return float(token)
        if token == r"\mathrm{True}" or token == r"\mathrm{False}":
            return token == r"\mathrm{True}"
        return self.called(token)

    def called(self, head: str):
        below = ""
        if self.peek() == "_":
            self.take("_")
            self.take("{")
            depth = 1
            while depth:
                token = self.take()
                depth += (token == "{") - (token == "}")
                below += token if depth else ""
        if self.peek() not in (r"\left", "("):
            return self.functions[head](self.atom(), below)
        if self.peek() == r"\left":
            self.take()
        self.take("(")
        args = [self.comparison()]
        while self.peek() == ",":
            self.take()
            args.append(self.comparison())
        if self.peek() == r"\right":
            self.take()
        self.take(")")
        return self.functions[head](*args, below)

    def cases(self):
        found = self.comparison()
        self.take("&")
        self.take(r"\text{if }")
        condition = self.comparison()
        self.take(r"\\")
        other = self.comparison()
        self.take("&")
        self.take(r"\text{else}")
        self.take(r"\end{cases}")
        return np.where(condition, found, other)

    def matrix(self):
        rows = [[]]
        while True:
            rows[-1].append(self.comparison())
            token = self.take()
            if token == r"\\":
                rows.append([])
            elif token != "&":
                assert token == r"\end{bmatrix}"
                return np.array(rows if len(rows) > 1 else rows[0])
