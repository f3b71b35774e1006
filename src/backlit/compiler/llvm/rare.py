"""Functions out of line, for arguments that are rare: IR calls them for every vector, they look whether there is one."""

from __future__ import annotations

import re

from backlit.compiler.llvm import trigonometry
from backlit.compiler.llvm.arithmetic import Floats
from backlit.compiler.llvm.writer import Writer
from backlit.ops.arithmetic import RARE


def definitions(text: str) -> str:
    """The functions out of line that IR calls."""
    found = sorted(set(re.findall(rf"@backlit\.({'|'.join(RARE)})\.(v\d+)?f64\(", text)))
    chosen = [_definition(name, int(width[1:]) if width else 1) for name, width in found]
    return "\n".join([d for d in (trigonometry.definitions(text), *chosen) if d])


def _definition(name: str, lanes: int) -> str:
    """A function that gives its second operand, but other values in lanes where the first asks for them."""
    condition, other = RARE[name]
    w = Writer(name, "", lanes)
    v = Floats(w, "double")
    there = condition(v, "%x")
    some = there if lanes == 1 else w.new(f"icmp ne i{lanes} {w.new(f'bitcast {v.truth} {there} to i{lanes}')}, 0")
    w.do(f"br i1 {some}, label %rare, label %common")
    w.lines += ["common:", f"  ret {v.typed} %value", "rare:"]
    w.do(f"ret {v.typed} {v.select(there, other(Floats(w, 'double'), '%x'), '%value')}")
    suffix = "f64" if lanes == 1 else f"v{lanes}f64"
    body = "\n".join(w.lines)
    return f"define internal {v.typed} @backlit.{name}.{suffix}({v.typed} %x, {v.typed} %value) noinline {{\n{body}\n}}"
