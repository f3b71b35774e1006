"""How a module is shown: a tree of its modules with the shapes and numbers of their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backlit.nn.module import Module


def drawn(module: Module) -> str:
    """The tree of a module; equal ones in a row stand once, with their number."""
    note = _note(module)
    head = f"{type(module).__name__}({module.extra_repr()}"
    below = [(name, repr(child)) for name, child in module._modules.items() if child is not None]
    if not below:
        return f"{head}){note}"
    lines = [head + note]
    k = 0
    while k < len(below):
        name, text = below[k]
        same = 1
        while k + same < len(below) and below[k + same][1] == text and _follows(below[k][0], same, below[k + same][0]):
            same += 1
        if same > 1:
            name, text = f"{name}-{below[k + same - 1][0]}", f"{same} x {text}"
        lines.append(f"  ({name}): " + text.replace("\n", "\n  "))
        k += same
    return "\n".join([*lines, ")"])


def _follows(name: str, steps: int, other: str) -> bool:
    return name.isdecimal() and other == str(int(name) + steps)


def _note(module: Module) -> str:
    """Shapes of what is its own, and the number of all parameters in it, each counted once."""
    own = {**module._parameters, **module._buffers}
    parts = [f"{name} {list(value.shape)}" for name, value in own.items() if value is not None]
    sizes = [(p.size, p.requires_grad) for p in module.parameters()]
    count = sum(n for n, _ in sizes)
    note = ", ".join(parts)
    if count:
        total = f"{count:,} parameter" + ("s" if count != 1 else "")
        frozen = sum(n for n, trained in sizes if not trained)
        if frozen:
            total += " (frozen)" if frozen == count else f" ({frozen:,} frozen)"
        note = f"{note}: {total}" if note else total
    return f"  # {note}" if note else ""
