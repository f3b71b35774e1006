"""SciPy's names for backlit's functions: `backlit.scipy.special`."""

from backlit.scipy import special

__all__ = ["special"]
