"""Copies of operands in the order in which a micro-kernel reads them: `width` neighbours for every step of `k`."""

from __future__ import annotations

from dataclasses import dataclass

from backlit.compiler.llvm.writer import SIZES, Index, Writer


@dataclass(frozen=True)
class Packing:
    """Element `(k, i)` at `depth * k + across * i` of the source goes to `pitch * k + i`, for `i < width`.

    The next `width` neighbours go to a piece of their own, `spacing` further on, and so forth. What lies between
    `width` and `pitch` is arbitrary, and up to a vector beyond the last row is overwritten.
    """

    kind: str
    lanes: int
    width: int
    pitch: int
    depth: int
    across: int
    spacing: int
    odd: bool  # whether the depth may be no multiple of four

    @property
    def name(self) -> str:
        """Tells it from every other packer."""
        numbers = (self.width, self.pitch, self.depth, self.across, self.spacing)
        return f"pack_{self.kind}{self.lanes}_{'_'.join(map(str, numbers))}{'_odd' * self.odd}"

    def text(self) -> str:
        """The function `(from, to, depth, pieces)`."""
        lanes = 1 if self.across != 1 and self.depth != 1 else self.lanes
        w = Writer(self.name, "ptr %from, ptr %to, i64 %depth, i64 %pieces", lanes)
        if self.across == 1:  # all of a row of the source at a time
            with w.loop(0, "%depth") as k:
                source = w.at("%from", self.kind, w.mul(k.i, self.depth))
                target = w.at("%to", self.kind, w.mul(k.i, self.pitch))
                with w.loop(0, "%pieces") as piece:
                    self._row(w, *self._piece(w, source, target, piece.i))
            return w.text(internal=True)
        with w.loop(0, "%pieces") as piece:
            source, target = self._piece(w, "%from", "%to", piece.i)
            if self.depth == 1:
                self._transposed(w, source, target)
            else:
                self._one_by_one(w, source, target)
        return w.text(internal=True)

    def _piece(self, w: Writer, source: str, target: str, number: Index) -> tuple[str, str]:
        return (
            w.at(source, self.kind, w.mul(number, self.width * self.across)),
            w.at(target, self.kind, w.mul(number, self.spacing)),
        )

    def _row(self, w: Writer, source: str, target: str) -> None:
        for i in range(0, self.width, self.lanes):
            rest = self.width - i
            mask = w.first_lanes(rest) if rest < self.lanes else None
            w.store(self.kind, w.load(self.kind, w.at(source, self.kind, i), mask), w.at(target, self.kind, i))

    def _one_by_one(self, w: Writer, source: str, target: str) -> None:
        with w.loop(0, "%depth") as k, w.loop(0, self.width) as i:
            value = w.load(self.kind, w.at(source, self.kind, w.mul(k.i, self.depth), w.mul(i.i, self.across)))
            w.store(self.kind, value, w.at(target, self.kind, w.mul(k.i, self.pitch), i.i))

    def _transposed(self, w: Writer, begin: str, target: str) -> None:
        """Squares of 16 bytes are turned within vectors that hold one square for every 16 bytes."""
        kind, lanes = self.kind, self.lanes
        square = 16 // SIZES[kind]
        quarter = f"<{square} x {kind}>"
        whole = w.new(f"and i64 %depth, {-square}")
        for first, end in ((0, self.width - self.width % lanes), (self.width - self.width % lanes, self.width)):
            if first == end:
                continue
            count = min(lanes, end - first)
            with w.loop(first, end, lanes) as i:
                source, to = w.at(begin, kind, w.mul(i.i, self.across)), w.at(target, kind, i.i)
                with w.loop(0, whole, square) as k:
                    place = w.at(source, kind, k.i)
                    vectors = []
                    for r in range(square):
                        # the last row stands in for those beyond
                        rows = [min(q + r, count - 1) for q in range(0, lanes, square)]
                        parts = [
                            w.new(f"load {quarter}, ptr {w.at(place, kind, row * self.across)}, align {SIZES[kind]}")
                            for row in rows
                        ]
                        vectors.append(_joined(w, kind, parts, square))
                    for r, vector in enumerate(_turned(w, kind, vectors, square)):
                        w.store(kind, vector, w.at(to, kind, w.mul(w.add(k.i, r), self.pitch)))
                if self.odd:
                    with w.loop(whole, "%depth") as k, w.loop(0, count) as j:
                        value = w.load_scalar(kind, w.at(source, kind, k.i, w.mul(j.i, self.across)))
                        w.do(f"store {kind} {value}, ptr {w.at(to, kind, w.mul(k.i, self.pitch), j.i)}")


def _joined(w: Writer, kind: str, parts: list[str], size: int) -> str:
    while len(parts) > 1:
        order = ", ".join(f"i32 {i}" for i in range(2 * size))
        typed = f"<{size} x {kind}>"
        parts = [
            w.new(f"shufflevector {typed} {a}, {typed} {b}, <{2 * size} x i32> <{order}>")
            for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
        size *= 2
    return parts[0]


def _turned(w: Writer, kind: str, vectors: list[str], square: int) -> list[str]:
    """Every square of `square` lanes of as many vectors, transposed."""
    lanes, typed = w.lanes, w.type(kind)

    def shuffled(a: str, b: str, pick: list[int]) -> str:
        """The picked lanes of each square; those of `b` count from `square`."""
        order = [
            base + p if p < square else lanes + base + p - square for base in range(0, lanes, square) for p in pick
        ]
        return w.new(
            f"shufflevector {typed} {a}, {typed} {b}, <{lanes} x i32> <{', '.join(f'i32 {i}' for i in order)}>"
        )

    if square == 2:
        a, b = vectors
        return [shuffled(a, b, [0, 2]), shuffled(a, b, [1, 3])]
    a, b, c, d = vectors
    low, high = shuffled(a, b, [0, 4, 1, 5]), shuffled(a, b, [2, 6, 3, 7])
    low2, high2 = shuffled(c, d, [0, 4, 1, 5]), shuffled(c, d, [2, 6, 3, 7])
    return [
        shuffled(low, low2, [0, 1, 4, 5]), shuffled(low, low2, [2, 3, 6, 7]),
        shuffled(high, high2, [0, 1, 4, 5]), shuffled(high, high2, [2, 3, 6, 7]),
    ]  # fmt: skip
