"""The page on compiling lists all ops that run by their eager forward."""

from __future__ import annotations

import re
from pathlib import Path

import checks
import numpy as np

from backlit.compiler import make_graph, native
from backlit.core.dtypes import bfloat16, is_float
from backlit.core.errors import BacklitError
from backlit.core.op import REGISTRY
from backlit.ops.linalg.common import MatrixOp
from backlit.ops.random import cos_turns, log_fraction

PAGE = Path(__file__).parent.parent.parent / "docs" / "compile.md"
DTYPES = (np.float32, np.float64, np.float16, bfloat16, np.int64, np.uint8, bool)
SAMPLERS = {log_fraction.name, cos_turns.name}  # parts of the generators, which give them doubles only


def listed():
    """Names by row of the table: in the first column, with what is said of them."""
    section = PAGE.read_text().split("## What runs by its eager forward")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [(set(re.findall(r"`(\w+)`", names)), said) for names, said in rows]


def falling_back(dtypes):
    """Ops of which a sample in one of these dtypes has no native code."""
    found = set()
    for name, k in checks.cases():
        op, arrays = checks.sample(name, k)
        for dtype in dtypes:
            try:
                with np.errstate(all="ignore"):
                    given = [a.astype(dtype) if is_float(a.dtype) and a.dtype.kind != "c" else a for a in arrays]
                    op(*given)
                graph = make_graph(op)(*given)
            except (BacklitError, TypeError, ValueError, OverflowError):
                continue
            if any(v.aval.dtype.kind == "f" and v.aval.dtype.itemsize > 8 for v in graph.variables()):
                continue
            found |= set(native.Program(graph).callbacks)
    return found - SAMPLERS


def test_every_op_that_falls_back_is_listed_and_no_other():
    named = set().union(*(names for names, _ in listed()))
    always = set().union(*(names for names, said in listed() if said.strip().startswith("always")))
    assert named <= set(REGISTRY)
    assert falling_back([np.float64]) == always
    matrices = {n for n, op in REGISTRY.items() if isinstance(op, MatrixOp)}  # of single and double precision alone
    assert falling_back([np.float16, bfloat16]) == always - matrices | {"nextafter", "rsqrt", "xlogy"}
    others = {names.pop() for names, said in listed() if len(names) == 1 and not said.strip().startswith("always")}
    assert falling_back(DTYPES) <= named and falling_back([np.int64, np.uint8, bool]) - always <= others | {
        "nextafter",
        "rsqrt",
        "xlogy",
    }
