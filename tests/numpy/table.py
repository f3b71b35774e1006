"""The tables of docs/numpy.md: which of NumPy's functions are there. `python tests/numpy/table.py` writes them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy

import backlit.numpy as np
from backlit.scipy import special

PAGE = Path(__file__).parent.parent.parent / "docs" / "numpy.md"


def _line(names) -> str:
    return ", ".join(f"`{n}`" for n in sorted(names))


def tables() -> str:
    """What stands between the marks of the page, for the NumPy that is installed."""
    functions = np.functions
    plain = set(functions.PLAIN) & set(np.FUNCTIONS)
    discrete = set(functions.DISCRETE) & set(np.FUNCTIONS)
    theirs = {n for n in numpy.__all__ if callable(getattr(numpy, n)) and not isinstance(getattr(numpy, n), type)}
    missing = theirs - set(np.__all__)
    rows = [
        ("made of backlit's, with derivatives where there are any", set(np.FUNCTIONS) - plain - discrete),
        ("of elements (universal functions)", np.UFUNCS),
        ("of which the result has no derivative", discrete),
        ("NumPy's own, of arrays that no gradient is taken of", plain),
        ("`np.linalg`, with derivatives", np.linalg.FUNCTIONS),
        ("`np.linalg`, NumPy's own, of arrays that no gradient is taken of", np.linalg.PLAIN),
        ("`np.fft`, with derivatives", np.fft.FUNCTIONS),
        ("`scipy.special`, with derivatives", special.__all__),
        ("not there", missing),
        ("not there of `np.linalg`", set(numpy.linalg.__all__) - set(np.linalg.__all__)),
        ("not there of `np.fft`", {n for n in numpy.fft.__all__ if n not in np.fft.__all__}),
    ]
    lines = [f"| {what} | {len(names)} | {_line(names)} |" for what, names in rows if names]
    version = ".".join(numpy.__version__.split(".")[:2])
    return "\n".join([f"| NumPy {version} | | functions |", "|---|---|---|", *lines])


def written(page: str) -> str:
    return re.sub(
        r"(<!-- functions -->\n\n).*?(\n\n<!-- end -->)", lambda m: m[1] + tables() + m[2], page, flags=re.DOTALL
    )


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
