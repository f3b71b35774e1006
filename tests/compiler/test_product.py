"""Generated products of matrices against NumPy in float64, at all vector widths that run here."""

from __future__ import annotations

import ctypes
import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest

from backlit.compiler.llvm.kernel import Kernel, Operand
from backlit.compiler.llvm.product import Sizes, product, store_to
from backlit.compiler.llvm.target import Code, features
from backlit.compiler.llvm.writer import declarations

KINDS = {"float": np.dtype(np.float32), "double": np.dtype(np.float64)}
GUARD = 64  # elements around what a kernel may write


def levels():
    """What has to be left out to get each vector width up to this machine's."""
    found = {}
    for without in ("", "avx512f", "avx"):
        found.setdefault(features(without).vector_bytes, without)
    return [pytest.param(without, id=f"{8 * size}bit") for size, without in found.items()]


def strides(array):
    return tuple(s // array.itemsize for s in array.strides)


def natives(kernels, without):
    """The kernels as functions of a table of arrays and a range of units."""
    helpers = {name: text for kernel in kernels for name, text in kernel.helpers.items()}
    text = "\n".join([*helpers.values(), *(kernel.text for kernel in kernels)])
    code = Code(
        f'{declarations(text)}\n{text}\nattributes #0 = {{ nounwind "prefer-vector-width"="512" }}', features(without)
    )
    return [Native(code, kernel) for kernel in kernels]


@dataclass
class Native:
    code: Code
    kernel: Kernel

    def __call__(self, arrays, divisions=None):
        kinds = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
        function = self.code.function(self.kernel.name, *kinds)
        table = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
        size = self.kernel.scratch_bytes
        raw = np.full(size + 192, 0xFF, np.uint8)  # NaN, whatever the kind
        start = -raw.ctypes.data % 64
        for low, high in divisions or [(0, self.kernel.units)]:
            function(ctypes.addressof(table), raw.ctypes.data + start, low, high)
            assert (raw[start + size :] == 0xFF).all() and (raw[:start] == 0xFF).all()
            raw[start : start + size] = 0xFF


def guarded(shape, dtype):
    """An array of NaN amid more of them."""
    size = int(np.prod(shape))
    whole = np.full(size + 2 * GUARD, np.nan, dtype)
    return whole, whole[GUARD : GUARD + size].reshape(shape)


@dataclass
class Case:
    """Operands as the letters of `layout` have them.

    They are (n)ormal, (t)ransposed, (s)trided, (r)eversed, (b)roadcast or (c)ommon to all entries of the batch.
    """

    kind: str
    batch: tuple[int, ...]
    m: int
    n: int
    k: int
    layout: str = "nn"

    def operand(self, rng, rows, columns, layout):
        dtype, batch = KINDS[self.kind], self.batch
        if layout == "t":
            whole = rng.standard_normal((*batch, columns, rows)).astype(dtype)
            return whole, whole.swapaxes(-1, -2)
        if layout == "s":
            whole = rng.standard_normal((*batch, 2 * rows + 1, 3 * columns + 1)).astype(dtype)
            return whole, whole[..., 1::2, 1::3]
        if layout == "c":
            whole = rng.standard_normal((rows, columns)).astype(dtype)
            return whole, np.broadcast_to(whole, (*batch, rows, columns))
        whole = rng.standard_normal((*batch, rows, columns)).astype(dtype)
        if layout == "r":
            return whole, whole[..., ::-1, ::-1]
        if layout == "b":
            one = rng.standard_normal((rows, 1)).astype(dtype)
            return one, np.broadcast_to(one, (*batch, rows, columns))
        return whole, whole

    def make(self, seed=0):
        rng = np.random.default_rng(seed)
        wholes, views = zip(
            self.operand(rng, self.m, self.k, self.layout[0]),
            self.operand(rng, self.k, self.n, self.layout[1]),
            strict=True,
        )
        operands = [
            Operand(slot, (view.ctypes.data - whole.ctypes.data) // view.itemsize if view.size else 0, strides(view))
            for slot, (whole, view) in enumerate(zip(wholes, views, strict=True))
        ]
        return wholes, views, operands

    def kernel(self, name, without, finish=None):
        (a, b) = self.make()[2]
        out = Operand(2, GUARD, strides(np.empty((*self.batch, self.m, self.n), KINDS[self.kind])))
        finish = finish or store_to(self.kind, out)
        sizes = Sizes(self.kind, self.batch, self.m, self.n, self.k, a, b)
        return product(name, sizes, finish, allowed=features(without))

    def check(self, native, finished=lambda sums: sums, divisions=None):
        wholes, (a, b), _ = self.make()
        whole, out = guarded((*self.batch, self.m, self.n), KINDS[self.kind])
        native([*wholes, whole], divisions)
        a, b = a.astype(np.float64), b.astype(np.float64)
        # every one of k products and k sums rounds once; |fl(sum) - sum| <= k eps |a| |b|, and one more for the result
        bound = (self.k + 2) * np.finfo(KINDS[self.kind]).eps * (np.abs(a) @ np.abs(b)) * 1.01
        np.testing.assert_array_less(np.abs(out - finished(a @ b)), bound + 1e-300, err_msg=str(self))
        assert np.isnan(whole[:GUARD]).all() and np.isnan(whole[whole.size - GUARD :]).all()
        return out


SIZES = [
    (1, 1, 1), (2, 2, 2), (3, 5, 7), (14, 32, 9), (32, 10, 64), (64, 64, 64), (33, 65, 17), (97, 131, 61), (13, 300, 4),
    (5, 16, 200), (1, 100, 50), (100, 1, 50), (1, 700, 30), (700, 1, 33), (1, 3, 9), (3, 1, 9), (1, 1, 300),
    (2, 33, 1), (1, 9, 1),
    (2, 40, 70), (40, 3, 131), (3, 37, 64), (3, 2, 200),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("without", levels())
def test_products_are_numpys(without, kind):
    pairs = itertools.cycle([("nn", "tt"), ("tn", "nt")])
    cases = [Case(kind, (), *size, pair) for size, both in zip(SIZES, pairs, strict=False) for pair in both]
    for group in range(0, len(cases), 20):
        part = cases[group : group + 20]
        kernels = [case.kernel(f"p{i}", without) for i, case in enumerate(part)]
        for case, native in zip(part, natives(kernels, without), strict=True):
            case.check(native)


@pytest.mark.parametrize("without", levels())
@pytest.mark.parametrize("pair", ["nn", "tn", "nt", "tt"])
def test_long_sums_are_made_of_stretches(without, pair):
    cases = [
        Case("float", (), m, n, k, pair)
        for m, n, k in [(40, 70, 2100), (130, 150, 1030), (7, 9, 5000), (1030, 17, 400), (1030, 150, 40)]
    ]
    kernels = [case.kernel(f"p{i}", without) for i, case in enumerate(cases)]
    for case, native in zip(cases, natives(kernels, without), strict=True):
        case.check(native)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("without", levels())
def test_smaller_tiles_at_the_edges_change_no_bit(without, kind, monkeypatch):
    cases = [
        Case(kind, batch, m, n, k, pair)
        for m, n, k, batch in [(77, 139, 83, ()), (41, 67, 300, (2,)), (67, 53, 1300, ()), (29, 4, 700, ()), (6, 131, 90, ())]
        for pair in ("nn", "tt", "nt")
    ]  # fmt: skip
    found = []
    for least in (0, math.inf):
        monkeypatch.setattr("backlit.compiler.llvm.plan.EDGES", least)
        kernels = [case.kernel(f"p{i}", without) for i, case in enumerate(cases)]
        natives_ = natives(kernels, without)
        found.append([case.check(native).tobytes() for case, native in zip(cases, natives_, strict=True)])
        tiles = [sum(name.startswith(("tile", "p0_tile")) for name in kernels[0].helpers)]
        assert tiles[0] == (4 if least == 0 else 1)
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("without", levels())
def test_batches_and_any_strides(without, kind):
    sizes = [(9, 20, 13), (1, 40, 11), (40, 1, 11), (20, 40, 70)]
    layouts = ["nn", "ss", "rr", "sn", "ns", "bt", "nb", "tb", "bb", "rs", "nc", "tc", "cc"]
    cases = [Case(kind, (2, 3), *size, layout) for size in sizes for layout in layouts]
    kernels = [case.kernel(f"p{i}", without) for i, case in enumerate(cases)]
    for case, native in zip(cases, natives(kernels, without), strict=True):
        case.check(native)


@pytest.mark.parametrize(
    "sizes", [s for s in itertools.product((0, 5), repeat=3) if 0 in s] + [(1, 5, 0), (5, 1, 0), (1, 1, 0)]
)
@pytest.mark.parametrize("batch", [(), (0,), (2,)])
def test_zero_sizes(sizes, batch):
    case = Case("float", batch, *sizes)
    (native,) = natives([case.kernel("p", "")], "")
    out = case.check(native)
    assert native.kernel.units == 0 if out.size == 0 else (out == 0).all()


DIVIDED = [
    Case("float", (), 200, 210, 300), Case("float", (), 256, 256, 256, "nt"), Case("float", (3,), 40, 50, 60, "tt"),
    Case("double", (), 100, 300, 1500, "tn"), Case("float", (), 1, 3000, 200), Case("float", (), 1000, 1, 2000),
    Case("float", (), 1000, 1, 300, "tn"), Case("float", (), 600, 8, 2500, "ss"),
]  # fmt: skip


@pytest.mark.parametrize("case", DIVIDED, ids=str)
def test_bits_do_not_depend_on_how_units_are_divided(case):
    (native,) = natives([case.kernel("p", "")], "")
    units = native.kernel.units
    assert units > 1 and 1 <= native.kernel.grain <= units
    want = case.check(native).tobytes()
    assert case.check(native, divisions=[(u, u + 1) for u in reversed(range(units))]).tobytes() == want
    cuts = sorted(np.random.default_rng(0).integers(0, units, 2))
    assert case.check(native, divisions=list(itertools.pairwise([0, *cuts, units]))).tobytes() == want


@pytest.mark.parametrize("layout", ["nn", "tt"])
@pytest.mark.parametrize("m, n, k", [(29, 45, 20), (64, 64, 64), (30, 50, 1500), (1, 77, 40), (77, 1, 40), (4, 10, 8),
                                     (131, 150, 120), (131, 70, 400)])  # fmt: skip
@pytest.mark.parametrize("without", levels())
def test_a_finish_sees_every_sum_once(without, m, n, k, layout):
    """Adds to what is there, a function of the position, and a row of its own."""
    case = Case("float", (2,), m, n, k, layout)
    bias = np.random.default_rng(2).standard_normal(n).astype(np.float32)
    before = np.random.default_rng(3).standard_normal((2, n, m)).astype(np.float32)  # transposed
    counts = np.zeros((2, m, n), np.float32)

    def finish(w, position, column, value, mask):
        there = Operand(2, 0, (m * n, n, 1))
        count = w.at(there.pointer(w, "float"), "float", *map(w.mul, position, there.strides), column)
        more = w.new(f"fadd {w.type('float')} {w.load('float', count, mask)}, {w.constant('float', 1)}")
        w.store("float", more, count, mask)
        row = w.load("float", w.at(Operand(3, 0, ()).pointer(w, "float"), "float", column), mask)
        value = w.new(f"fadd {w.type('float')} {value}, {row}")
        store_to("float", Operand(4, 0, (m * n, 1, m)))(w, position, column, value, mask)

    (native,) = natives([case.kernel("p", without, finish)], without)
    wholes, (a, b), _ = case.make()
    out = before.copy()
    native([*wholes, counts, bias, out])
    assert (counts == 1).all()
    bound = (k + 3) * np.finfo(np.float32).eps * (np.abs(a) @ np.abs(b) + np.abs(bias)) * 1.01
    want = a.astype(np.float64) @ b.astype(np.float64) + bias
    assert (np.abs(out.swapaxes(1, 2) - want) <= bound).all()


@pytest.mark.parametrize("m, n, k", [(20, 40, 30), (1, 40, 30), (40, 1, 30), (100, 130, 300)])
@pytest.mark.parametrize("layout", ["nn", "tt"])
def test_infinities_and_nans_pass_through(m, n, k, layout):
    case = Case("float", (), m, n, k, layout)
    (native,) = natives([case.kernel("p", "")], "")
    wholes, (a, b), _ = case.make()
    a[m // 2, k - 1] = np.inf
    b[k - 1, n - 1] = 0  # inf * 0
    a[0, k // 3] = np.nan
    whole, out = guarded((m, n), np.float32)
    native([*wholes, whole])
    with np.errstate(invalid="ignore"):
        want = a @ b
    np.testing.assert_array_equal(np.isnan(out), np.isnan(want))
    np.testing.assert_array_equal(np.isinf(out), np.isinf(want))


def test_kernels_share_helpers():
    cases = [Case("float", (), 320, 640, 400), Case("float", (), 640, 640, 400)]
    first, second = (case.kernel(f"p{i}", "") for i, case in enumerate(cases))
    shared = first.helpers.keys() & second.helpers.keys()
    assert shared and all(first.helpers[name] == second.helpers[name] for name in shared)
