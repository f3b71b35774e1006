"""The loops of a nest: which axes they go over, in which order, and which axes one loop goes over together."""

from __future__ import annotations

import math

from backlit.compiler.llvm.nest import Guarded, Load, Nest


class Order:
    """The loops of a nest whose reductions go over `axes`: those that are kept come first, the reduced ones inside.

    `sizes` are the turns of the loops, the first `n_kept` of which are kept; `last_reduced` says that the vectors of a
    reduction go along reduced axes. Without `joined` each axis is a loop.
    """

    def __init__(self, nest: Nest, axes: tuple[int, ...] | None, joined: bool = True) -> None:
        self.nest = nest
        reduced = set(axes or ())
        kept = [a for a in range(len(nest.shape)) if a not in reduced]
        self.loads = [what for what, _, _ in nest.nodes if isinstance(what, Load)]
        out = dict(zip(kept, _contiguous([nest.shape[a] for a in kept]), strict=True))
        for r in nest.reductions:
            r.strides = tuple(out.get(a, 0) for a in range(len(nest.shape)))
        vector = self._contiguous_axis() if nest.reductions and not nest.stores else None
        parts = [sorted(part, key=lambda a: (a == vector, a)) for part in (kept, reduced)]
        groups = [
            self._collapsed([[a] for a in part if nest.shape[a] != 1]) if joined else [[a] for a in part]
            for part in parts
        ]
        self.groups = [*groups[0], *groups[1]]
        self.sizes = [math.prod(nest.shape[a] for a in group) for group in self.groups]
        self.n_kept = len(groups[0])
        self.position = {group[-1]: k for k, group in enumerate(self.groups)}  # the inner axis of a group stands for it
        last = max((g[-1] for g in self.groups), default=-1) if vector is None else vector
        self.last_reduced = bool(groups[1]) and (not groups[0] or groups[1][-1][-1] == last)

    def stride(self, strides: tuple[int, ...], loop: int) -> int:
        """Elements from one turn of a loop to the next."""
        return strides[self.groups[loop][-1]]

    def _contiguous_axis(self) -> int | None:
        """The axis along which most of what is read lies side by side."""
        shape = self.nest.shape
        scores = {a: 0 for a, n in enumerate(shape) if n > 1}
        for load in self.loads:
            size = math.prod(n for n, s in zip(shape, load.strides, strict=True) if s)
            for a in scores:
                scores[a] += size if abs(load.strides[a]) == 1 else 0
        best = max(scores, key=lambda a: (scores[a], a), default=None)
        return best if best is not None and scores[best] else None

    def _may_join(self, a: int, b: int) -> bool:
        shape = self.nest.shape
        for strides in self._all_strides():
            if strides[a] != strides[b] * shape[b]:
                return False
        return not any(g.axis in (a, b) for _, _, guards in self.nest.nodes for g in guards) and not any(
            g.axis in (a, b) for what, _, _ in self.nest.nodes if isinstance(what, Guarded) for g in what.guards
        )

    def _all_strides(self) -> list[tuple[int, ...]]:
        written = [s.strides for s in self.nest.stores] + [r.strides for r in self.nest.reductions]
        return [x.strides for x in self.loads] + written

    def _collapsed(self, groups: list[list[int]]) -> list[list[int]]:
        """Neighbouring axes joined where one index can run over both."""
        found: list[list[int]] = []
        for group in groups:
            if found and self._joined(found[-1], group):
                found[-1] += group
            else:
                found.append(list(group))
        return found

    def _joined(self, a: list[int], b: list[int]) -> bool:
        return self._may_join(a[-1], b[0])


def _contiguous(shape: list[int]) -> list[int]:
    return [math.prod(shape[k + 1 :]) for k in range(len(shape))]
