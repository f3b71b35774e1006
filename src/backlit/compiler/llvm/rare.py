"""Functions out of line, for arguments that are rare: IR calls them for every vector, they look whether there is one.

What is rare is computed one element at a time, which keeps programs small.
"""

from __future__ import annotations

import re

from backlit.compiler.llvm import trigonometry
from backlit.compiler.llvm.arithmetic import Floats
from backlit.compiler.llvm.lanes import lane_by_lane
from backlit.compiler.llvm.writer import Writer
from backlit.ops.arithmetic import RARE


def definitions(text: str) -> str:
    """The functions out of line that IR calls."""
    found = sorted(set(re.findall(rf"@backlit\.({'|'.join(RARE)})\.(v\d+)?f64\(", text)))
    chosen = [_definition(name, int(width[1:]) if width else 1) for name, width in found]
    names = sorted({name for name, _ in found})
    return "\n".join([d for d in (trigonometry.definitions(text), *map(_of_one, names), *chosen) if d])


def _of_one(name: str) -> str:
    """The other way to compute a function, of one double."""
    w = Writer(name, "")
    value = RARE[name][1](Floats(w, "double"), "%x")
    body = "\n".join(w.lines)
    return f"define internal double @backlit.rare_{name}(double %x) noinline {{\n{body}\n  ret double {value}\n}}"


def _definition(name: str, lanes: int) -> str:
    """A function that gives its second operand, but other values in lanes where the first asks for them."""
    w = Writer(name, "", lanes)
    v = Floats(w, "double")
    there = RARE[name][0](v, "%x")
    head = f"define internal {v.typed} @backlit.{name}.{'' if lanes == 1 else f'v{lanes}'}f64({v.typed} %x, {v.typed} %common)"
    call = lambda one: [f"  %found = call double @backlit.rare_{name}(double {one})"]
    body = lane_by_lane(lanes, "double", there, "%common", ["%x"], call)
    return "\n".join([f"{head} noinline {{", *w.lines, *body, "}"])
