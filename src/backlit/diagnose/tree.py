"""The contributions to a gradient as a tree that is opened row by row; what a row holds adds to the row exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.autodiff.walk import Pick
from backlit.core.dtypes import wide_dtype
from backlit.core.errors import ArgumentError
from backlit.core.op import Masked
from backlit.core.tensor import Tensor
from backlit.diagnose.recording import Contribution, Node, Recording
from backlit.diagnose.replay import Replay, check_runs, is_joint

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Row:
    """One part of the gradient of a target: what came through the contributions of `way`, the last of which is nearest
    to the loss.

    `value` is that part, `share` its part of the whole, <value, g> / <g, g>. `rest` says that the row stands for `others`,
    the remaining ones of its level, or for what a backward pass began with, which cannot be opened.
    """

    way: tuple[Contribution, ...]
    value: Array
    share: float
    rest: bool = False
    others: tuple[Row, ...] = field(default=(), repr=False)

    @property
    def node(self) -> Node | None:
        """The node that the last contribution of the way came from."""
        return self.way[-1].child if self.way else None


class ContributionTree:
    """The gradient of a node as a tree: each level sums to the row above it.

    A row is opened by one partial backward pass: the contributions to the node where it came from are taken through the
    rules on the row's way. Stretches where a gradient has one source are gone through at once. At most `most` rows a level;
    the others are one row of the rest, which can be opened in turn.

    Raises:
      ArgumentError: there is no such node, no gradient reached it, or the recording was read from a file or holds statistics.
    """

    def __init__(self, recording: Recording, of: str | Node, most: int = 8) -> None:
        check_runs(recording, "ContributionTree")
        self.target = recording[of] if isinstance(of, str) else of
        if self.target.cotangent is None:
            raise ArgumentError(f"ContributionTree: no gradient reached {self.target.name!r}")
        self.most = most
        self._replay = Replay()
        g = np.asarray(self.target.cotangent, wide_dtype(self.target.cotangent.dtype))
        self._gradient, self._unit = g, float(np.vdot(g, g).real)
        self.root = Row((), np.asarray(self.target.cotangent), 1.0)

    def open(self, row: Row) -> list[Row]:
        """The parts of a row, the largest first; empty where it came from the beginning of the backward pass."""
        if row.rest:
            return self._shown(row.way, list(row.others))
        way, node = self._parting(row)
        if not self.parts(row):
            return []
        found = [self._row((*way, c), c.value) for c in node.contributions]
        if node.seed is not None and node.contributions:
            found.append(self._row(way, node.seed, seeded=True))
        found.sort(key=lambda r: -abs(r.share))
        return self._shown(way, found)

    def parts(self, row: Row) -> int:
        """How many parts a row has; nothing is computed."""
        if row.rest:
            return len(row.others)
        _, node = self._parting(row)
        if not _goes_on(node):
            return 0
        return len(node.contributions) + (node.seed is not None and bool(node.contributions))

    def _parting(self, row: Row) -> tuple[tuple[Contribution, ...], Node]:
        """Where the ways behind a row part, and the way until there."""
        way = row.way
        node = self.target if not way else way[-1].child
        while _goes_on(node) and len(node.contributions) == 1 and node.seed is None:
            way = (*way, node.contributions[0])
            node = way[-1].child
        return way, node

    def _shown(self, way: tuple[Contribution, ...], found: list[Row]) -> list[Row]:
        """Rows, of many the first and one for the rest."""
        if len(found) <= self.most:
            return found
        others = tuple(found[self.most - 1 :])
        value = np.sum([r.value for r in others], axis=0)
        return [*found[: self.most - 1], Row(way, value, self._share(value), rest=True, others=others)]

    def _row(self, way: tuple[Contribution, ...], value: Array, seeded: bool = False) -> Row:
        carried: Masked = (Tensor(value), None)
        for contribution in reversed(way if seeded else way[:-1]):
            carried = self._replay.pull(contribution.child, [carried])[contribution.argnum]
        part = np.asarray(carried[0]._value)
        return Row(way, part, self._share(part), rest=seeded)

    def _share(self, part: Array) -> float:
        wide = np.asarray(part, wide_dtype(part.dtype))
        return float(np.vdot(wide, self._gradient).real) / self._unit if self._unit else 0.0


def _goes_on(node: Node) -> bool:
    """Whether the way can be followed further: not through one of several results."""
    return not isinstance(node.op, Pick) and not (is_joint(node) and node.value is None)
