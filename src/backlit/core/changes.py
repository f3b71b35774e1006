"""A count of changes to the structure of modules and optimizers: who has seen a count need not look again."""

from __future__ import annotations

count = 0


def changed() -> None:
    """Something other than the contents of tensors was changed."""
    global count
    count += 1
