"""Floor 1: every primitive, one file per family."""

from backlit.ops import elementwise, special

__all__ = ["elementwise", "special"]
