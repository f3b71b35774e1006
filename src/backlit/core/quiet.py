"""Silence for floating-point warnings inside ops: infinities and NaNs are values here, not events.

`np.errstate` costs 0.7 microseconds an entry, as much as a small op (measured with NumPy 2.4). It sets one
context variable; setting that variable directly costs a tenth.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

import numpy as np


class _ErrState:
    """`np.errstate` with the two methods of a context variable."""

    def set(self, value: Any) -> Any:
        state = np.errstate(all="ignore")
        state.__enter__()
        return state

    def reset(self, token: Any) -> None:
        token.__exit__(None, None, None)


def _find() -> tuple[Any, Any]:
    outside = copy_context()
    with np.errstate(all="ignore"):
        inside = copy_context()
    changed = [v for v in inside if v not in outside or inside[v] is not outside[v]]
    return (changed[0], inside[changed[0]]) if len(changed) == 1 else (_ErrState(), None)


variable, silence = _find()
