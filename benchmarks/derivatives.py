"""How exact the derivatives of the elementary and special functions are, in units in the last place.

    python benchmarks/derivatives.py          prints the table
    python benchmarks/derivatives.py page     also writes it into docs/math.md

Each is taken eagerly in float64 by the reverse rule that runs, at points of every size in its domain, and compared with
mpmath's derivative in 80 digits.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

import backlit as bl
from backlit import functional as F
from backlit.core.op import REGISTRY

PAGE = Path(__file__).parent.parent / "docs" / "math.md"
BEGIN, END = "<!-- derivatives -->", "<!-- end -->"
mp = mpmath.mp


def sizes(low: float, high: float, n: int = 150) -> np.ndarray:
    """Numbers of both signs whose sizes go evenly through the exponents."""
    positive = np.geomspace(low, high, n) * np.linspace(1.0, 1.0001, n)  # not round ones
    return np.concatenate([-positive[::-1], positive])


REAL = np.concatenate([sizes(1e-8, 30.0), np.linspace(-6.0, 6.0, 101) + 0.001])
POSITIVE = np.concatenate([np.geomspace(1e-8, 1e8, 200), np.linspace(0.3, 4.0, 100)])
INSIDE = np.concatenate([sizes(1e-8, 0.9), 1.0 - np.geomspace(1e-9, 0.1, 50), np.geomspace(1e-9, 0.1, 50) - 1.0])
UNIT = np.concatenate([np.geomspace(1e-8, 0.5, 100), 1.0 - np.geomspace(1e-8, 0.5, 100)])
ABOVE = 1.0 + np.geomspace(1e-8, 1e6, 200)
GAMMA = np.concatenate([np.geomspace(1e-6, 1e6, 200), -np.linspace(0.03, 5.97, 100)])

# name: (function here, mpmath's derivative, where)
FUNCTIONS: dict[str, tuple[Any, Any, np.ndarray]] = {
    "exp": (bl.exp, mp.exp, REAL),
    "exp2": (bl.exp2, lambda x: mp.log(2) * mp.mpf(2) ** x, REAL),
    "expm1": (bl.expm1, mp.exp, REAL),
    "log": (bl.log, lambda x: 1 / x, POSITIVE),
    "log2": (bl.log2, lambda x: 1 / (x * mp.log(2)), POSITIVE),
    "log10": (bl.log10, lambda x: 1 / (x * mp.log(10)), POSITIVE),
    "log1p": (bl.log1p, lambda x: 1 / (1 + x), np.concatenate([INSIDE, POSITIVE])),
    "sqrt": (bl.sqrt, lambda x: 1 / (2 * mp.sqrt(x)), POSITIVE),
    "rsqrt": (bl.rsqrt, lambda x: -1 / (2 * mp.sqrt(x) ** 3), POSITIVE),
    "cbrt": (bl.cbrt, lambda x: 1 / (3 * mp.cbrt(x) ** 2), POSITIVE),
    "reciprocal": (bl.reciprocal, lambda x: -1 / x**2, REAL),
    "sin": (bl.sin, mp.cos, REAL),
    "cos": (bl.cos, lambda x: -mp.sin(x), REAL),
    "tan": (bl.tan, lambda x: mp.sec(x) ** 2, REAL),
    "asin": (bl.asin, lambda x: 1 / mp.sqrt(1 - x * x), INSIDE),
    "acos": (bl.acos, lambda x: -1 / mp.sqrt(1 - x * x), INSIDE),
    "atan": (bl.atan, lambda x: 1 / (1 + x * x), REAL),
    "sinh": (bl.sinh, mp.cosh, REAL),
    "cosh": (bl.cosh, mp.sinh, REAL),
    "tanh": (bl.tanh, lambda x: mp.sech(x) ** 2, sizes(1e-8, 8.0)),
    "asinh": (bl.asinh, lambda x: 1 / mp.sqrt(1 + x * x), REAL),
    "acosh": (bl.acosh, lambda x: 1 / mp.sqrt(x * x - 1), ABOVE),
    "atanh": (bl.atanh, lambda x: 1 / (1 - x * x), INSIDE),
    "sinc": (bl.sinc, lambda x: (mp.pi * x * mp.cospi(x) - mp.sinpi(x)) / (mp.pi * x * x), sizes(1e-8, 9.0)),
    "erf": (bl.erf, lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x), sizes(1e-8, 5.0)),
    "erfc": (bl.erfc, lambda x: -2 / mp.sqrt(mp.pi) * mp.exp(-x * x), sizes(1e-8, 5.0)),
    "erfinv": (bl.erfinv, lambda y: mp.sqrt(mp.pi) / 2 * mp.exp(mp.erfinv(y) ** 2), INSIDE),
    "lgamma": (bl.lgamma, mp.digamma, GAMMA),
    "digamma": (bl.digamma, lambda x: mp.psi(1, x), GAMMA),
    "polygamma(2, x)": (lambda x: bl.polygamma(2, x), lambda x: mp.psi(3, x), GAMMA[GAMMA > 0]),
    "gamma": (REGISTRY["gamma"], lambda x: mp.gamma(x) * mp.digamma(x), np.concatenate([np.geomspace(1e-6, 170.0, 200), GAMMA[GAMMA < 0]])),
    "logit": (bl.logit, lambda x: 1 / (x * (1 - x)), UNIT),
    "xlogy(x, x)": (lambda x: bl.xlogy(x, x), lambda x: mp.log(x) + 1, POSITIVE[POSITIVE > 0.5]),
    "sigmoid": (F.sigmoid, lambda x: 1 / (mp.exp(x / 2) + mp.exp(-x / 2)) ** 2, sizes(1e-8, 10.0)),
    "softplus": (F.softplus, lambda x: 1 / (1 + mp.exp(-x)), sizes(1e-8, 19.0)),
    "gelu": (F.gelu, lambda x: mp.ncdf(x) + x * mp.npdf(x), np.concatenate([sizes(1e-8, 0.5), np.linspace(0.5, 6, 90)])),
    "silu": (
        F.silu, lambda x: (1 + mp.exp(-x) * (1 + x)) / (1 + mp.exp(-x)) ** 2,
        np.concatenate([sizes(1e-8, 1.0), np.linspace(1.0, 20.0, 90)]),
    ),
}  # fmt: skip


def error(name: str) -> tuple[float, float]:
    """The greatest error of the derivative in units in its last place, and where it is."""
    function, derivative, x = FUNCTIONS[name]
    got = bl.grad(lambda x: function(x).sum())(x).numpy()
    worst, at = 0.0, float("nan")
    with mpmath.workdps(80):
        for v, g in zip(x, got, strict=True):
            exact = derivative(mpmath.mpf(float(v)))
            found = float(abs(mpmath.mpf(float(g)) - exact)) / np.spacing(abs(float(exact)))
            if not found <= worst:
                worst, at = found, float(v)
    return worst, at


def main() -> None:
    rows = ["| derivative of | ulp | at |", "|---|---|---|"]
    for name in FUNCTIONS:
        worst, at = error(name)
        rows.append(f"| `{name}` | {worst:.2f} | {at:.6g} |")
        print(rows[-1], flush=True)
    if sys.argv[1:] == ["page"]:
        text = PAGE.read_text(encoding="utf-8")
        made = re.sub(f"{BEGIN}.*{END}", f"{BEGIN}\n" + "\n".join(rows) + f"\n{END}", text, flags=re.DOTALL)
        PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
