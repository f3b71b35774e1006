"""Where in a network an error came from: a note on the exception with the path and class of the innermost layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backlit.nn.module import Module

_KEY = "backlit_place"


def locate(error: Exception, module: Module) -> None:
    """Says in a note of an exception that passes through a call of `module` where it came from.

    The innermost module is told first; each one around it puts its name for the one before in front of the path.
    """
    if isinstance(error, StopIteration):
        return
    place: tuple[Any, list[str], str, str] | None = getattr(error, _KEY, None)
    if place is None:
        names: list[str] = []
        innermost, old = f"{type(module).__name__}({module.extra_repr()})", ""
    else:
        before, names, innermost, old = place
        name = next((n for n, m in module.named_modules() if m is before), None)
        names = [type(before).__name__ if name is None else name, *names] if name != "" else names
    note = f"in {innermost}" if not names else f"in {'.'.join(names)}, {innermost}, of {type(module).__name__}"
    notes = [n for n in getattr(error, "__notes__", ()) if n != old]
    error.__notes__ = [*notes, note]
    setattr(error, _KEY, (module, names, innermost, note))
