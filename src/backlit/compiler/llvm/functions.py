"""The functions that native loops write out, by the names of their ops."""

from __future__ import annotations

from collections.abc import Callable

from backlit.compiler.llvm.error_function import erf, normal_cdf
from backlit.compiler.llvm.exponential import exp2, expm1
from backlit.compiler.llvm.hyperbolic import acosh, asinh, atanh, cosh, sinh
from backlit.compiler.llvm.inverse import acos, asin, atan, atan2
from backlit.compiler.llvm.logarithm import log, log1p, log2, log10, logaddexp, logit, softplus, xlogy
from backlit.compiler.llvm.math import exp, sigmoid, tanh
from backlit.compiler.llvm.power import pow
from backlit.compiler.llvm.roots import cbrt, hypot
from backlit.compiler.llvm.sampling import cos_turns, log_fraction
from backlit.compiler.llvm.shared import digamma, erfc, erfinv, lgamma, trigamma
from backlit.compiler.llvm.trigonometry import cos, cos_of_one, sin, sin_of_one, sinc, tan

FUNCTIONS: dict[str, Callable[..., str]] = {
    "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "pow": pow, "sin": sin, "cos": cos, "tanh": tanh, "erf": erf, "normal_cdf": normal_cdf,
    "sigmoid": sigmoid, "softplus": softplus,
    "exp2": exp2, "log2": log2, "log10": log10, "cbrt": cbrt, "hypot": hypot, "logaddexp": logaddexp, "xlogy": xlogy,
    "logit": logit, "tan": tan, "asin": asin, "acos": acos, "atan": atan, "atan2": atan2, "sinh": sinh, "cosh": cosh,
    "asinh": asinh, "acosh": acosh, "atanh": atanh, "sinc": sinc,
    "erfc": erfc, "erfinv": erfinv, "lgamma": lgamma, "digamma": digamma, "trigamma": trigamma,
}  # fmt: skip
# the same for one number, of which others wait: writers of whole functions, which may branch
OF_ONE: dict[str, Callable[..., str]] = {"sin": sin_of_one, "cos": cos_of_one}
# Of doubles only, with the bits of NumPy's arithmetic.
SAMPLING: dict[str, Callable[..., str]] = {"log_fraction": log_fraction, "cos_turns": cos_turns}
