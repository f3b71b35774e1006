"""Pictures of a run, drawn by matplotlib (the extra `plot`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlit.core.errors import ArgumentError


def axes(given: Any) -> Any:
    """Axes to draw on: those that are given, or new ones.

    Raises:
      ArgumentError: matplotlib is not installed.
    """
    if given is not None:
        return given
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ArgumentError("plot: drawing needs matplotlib; pip install 'backlit[plot]'") from None
    return pyplot.subplots()[1]


def curves(epochs: Sequence[dict[str, Any]], names: Sequence[str], ax: Any = None) -> Any:
    """Numbers of the epochs against their number; that of validation in the colour of its own and dashed."""
    ax = axes(ax)
    colours: dict[str, str] = {}
    for name in names:
        points = [(e["epoch"], e[name]) for e in epochs if isinstance(e.get(name), (int, float))]
        colour = colours.setdefault(name.removeprefix("val_"), f"C{len(colours)}")
        style = "--" if name.startswith("val_") else "-"
        ax.plot([x for x, _ in points], [y for _, y in points], style, color=colour, label=name)
    ax.set_xlabel("epoch")
    ax.legend()
    return ax
