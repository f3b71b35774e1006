"""The micro-kernel of matrix products: a tile of sums kept in registers over a stretch of `k`."""

from __future__ import annotations

from dataclasses import dataclass

from backlit.compiler.llvm.target import Features
from backlit.compiler.llvm.writer import SIZES, Writer


@dataclass(frozen=True)
class Tile:
    """`rows` x (`vectors` of `lanes`) sums of `kind`; all numbers are of elements.

    Row `i` of `a` is read at `a_row * i + a_depth * k`, a row of `b` at `b_depth * k`, whose last vector has `last`
    lanes.
    """

    kind: str
    lanes: int
    rows: int
    vectors: int
    a_row: int
    a_depth: int
    b_depth: int
    last: int
    fma: bool
    whole: bool  # one stretch has all of k
    pitch: int  # of the sums in memory

    @property
    def width(self) -> int:
        """Columns of the tile."""
        return self.lanes * self.vectors

    @property
    def name(self) -> str:
        """Tells it from every other micro-kernel."""
        edge = f"_{self.last}" if self.last < self.lanes else ""
        pitch = f"_{self.pitch}" if self.pitch > self.width else ""
        return (
            f"tile_{self.kind}{self.lanes}_{self.rows}x{self.vectors}{edge}_{self.a_row}_{self.a_depth}_{self.b_depth}"
            f"{pitch}{'' if self.fma else '_unfused'}{'_whole' if self.whole else ''}"
        )

    def sums(self, w: Writer) -> list[str]:
        """The sums over `%depth` of products of `%a` and `%b`, vector by vector and row by row."""
        kind = self.kind
        zeros = [(w.type(kind), "zeroinitializer")] * (self.rows * self.vectors)
        with w.loop(0, "%depth", carry=[*zeros, ("ptr", "%a"), ("ptr", "%b")]) as k:
            *sums, a, b = k.old
            columns = [w.load(kind, w.at(b, kind, v * self.lanes), self.mask(w, v)) for v in range(self.vectors)]
            for r in range(self.rows):
                one = w.splat(kind, w.load_scalar(kind, w.at(a, kind, r * self.a_row)))
                for v, column in enumerate(columns):
                    sums[r * self.vectors + v] = multiply_add(
                        w, kind, one, column, sums[r * self.vectors + v], self.fma
                    )
            k.next = [*sums, w.at(a, kind, self.a_depth), w.at(b, kind, self.b_depth)]
        return k.next[:-2]

    def mask(self, w: Writer, v: int) -> str | None:
        """Which lanes of vector `v` there are, unless all."""
        return w.first_lanes(self.last) if v == self.vectors - 1 and self.last < self.lanes else None

    def text(self) -> str:
        """The function `(a, b, sums, depth, more)`: writes the sums over `depth`, or adds them if `more` is not 0."""
        w = Writer(self.name, "ptr %a, ptr %b, ptr %sums, i64 %depth, i64 %more", self.lanes)
        kind, typed = self.kind, w.type(self.kind)
        found = []
        for i, value in enumerate(self.sums(w)):
            row, vector = divmod(i, self.vectors)
            found.append((value, w.at("%sums", kind, row * self.pitch + vector * self.lanes)))
        if self.whole:
            for value, place in found:
                w.store(kind, value, place)
            return w.text(internal=True)
        with w.only_if(w.new("icmp eq i64 %more, 0")):
            for value, place in found:
                w.store(kind, value, place)
        with w.only_if(w.new("icmp ne i64 %more, 0")):
            for value, place in found:
                w.store(kind, w.new(f"fadd {typed} {w.load(kind, place)}, {value}"), place)
        return w.text(internal=True)


def multiply_add(w: Writer, kind: str, a: str, b: str, c: str, fma: bool) -> str:
    """`a * b + c`, rounded once where the machine can."""
    if fma:
        return w.call("llvm.fma", kind, a, b, c)
    product = w.new(f"fmul {w.type(kind)} {a}, {b}")
    return w.new(f"fadd {w.type(kind)} {c}, {product}")


def cycles_of(
    tile: tuple[int, int],
    m: int,
    n: int,
    k: int,
    kind: str,
    allowed: Features,
    apart: bool = False,
    edges: bool = False,
) -> float:
    """About how many cycles an `m` by `n` product over `k` takes with tiles of so many rows and vectors.

    `apart` and `edges` are as for `choose`.
    """
    rows, vectors = tile
    lanes = allowed.vector_bytes // SIZES[kind]
    width = lanes * vectors
    exact = edges or (m % rows == 0 and (n % width == 0 or n < width))  # so that sums need not pass through memory

    def one(rows: int, vectors: int) -> float:
        # two multiply-adds, two loads a cycle; the latency of four cycles hidden by more than eight sums
        each = max(rows * vectors / 2, (rows + vectors) / 2, 4.5) + (1.25 if apart else 0.25)
        return each * k + 30 + rows * vectors * (1 if exact else 3)

    if not edges:
        return -(-m // rows) * -(-n // width) * one(rows, vectors)
    heights = [(rows, m // rows), (m % rows, 1)]
    widths = [(vectors, n // width), (-(-(n % width) // lanes), 1)]
    return sum(a * b * one(r, v) for r, a in heights for v, b in widths if r and v)


def choose(
    m: int, n: int, k: int, kind: str, allowed: Features, apart: bool = False, edges: bool = False
) -> tuple[int, int]:
    """Rows and vectors of the tile that should do an `m` by `n` product over `k` in the fewest cycles.

    `apart` says that the steps along `k` of an operand lie on pages of their own, where smaller tiles wait more often
    (Zen 5, 1024 x 1024 over 256 with `a` transposed: 6 x 4 at 243 GFLOP/s, 8 x 2 at 224). With `edges` there are smaller
    tiles for what is left of rows and columns; else the last tiles overlap their neighbours.
    """
    lanes = allowed.vector_bytes // SIZES[kind]
    spare = 1 if allowed.fma else 2  # for the broadcast element, and the product where it is not fused
    # further rows fall on the same lines of the first-level cache where rows are a power of two apart (Zen 5,
    # 2048 x 2048 over 256: 6 x 4 and 8 x 2 at 241 GFLOP/s, 13 x 2 at 214)
    most = {1: 12, 2: 8, 3: 8, 4: 6}
    fitting = [
        (rows, vectors)
        for vectors in range(1, 5)
        for rows in range(min(m, most[vectors], (allowed.registers - spare - vectors) // vectors), 0, -1)
        if lanes * (vectors - 1) < n
    ]
    return min(fitting, key=lambda tile: cycles_of(tile, m, n, k, kind, allowed, apart, edges))
