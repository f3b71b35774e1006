"""What NumPy would give as a view: remembered, so that a NumPy program that writes through one gets an error.

Here a slice is a value of its own. A program written for NumPy may mean its base when it writes to it, and would go on with
wrong numbers.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any

from backlit.core.errors import WriteError
from backlit.core.op import shown
from backlit.core.source import here, user_frame
from backlit.core.tensor import Tensor

_NUMPY = "backlit.numpy"


def alias(out: Any, base: Any) -> Any:
    """`out`, a tensor or a list of them, once it is remembered that NumPy's would share memory with `base`."""
    if isinstance(out, (list, tuple)):
        for part in out:
            alias(part, base)
    elif isinstance(out, Tensor) and isinstance(base, Tensor) and out is not base and out._value.shape:
        out._bases = (weakref.ref(base), *getattr(base, "_bases", ()))
    return out


def check_no_alias(x: Tensor, what: str) -> None:
    """Lets `x` be written to, unless a program that uses `backlit.numpy` would write to an array that is still there.

    Raises:
      WriteError: NumPy would write to what `x` was taken from as well.
    """
    bases = getattr(x, "_bases", ())
    base = next((found for ref in bases if (found := ref()) is not None), None)
    if base is not None and _of_numpy():
        raise WriteError(
            f"{what}: in NumPy {shown(x)} is a view, and this would write to the {shown(base)} that it was taken from; here "
            f"it is a value of its own: write to that array (a[0, i] = v for row = a[0]; row[i] = v), or take a "
            f".copy(){here()}"
        )


def _of_numpy() -> bool:
    """Whether the user's function that runs, or its module, has a name for something of `backlit.numpy`."""
    frame = user_frame(sys._getframe(2))
    return frame is not None and any(
        getattr(v, "__name__", "") == _NUMPY or str(getattr(v, "__module__", "")).startswith(_NUMPY)
        for names in (frame.f_locals, frame.f_globals)
        for v in list(names.values())
        if not isinstance(v, Tensor)
    )
