"""What a file has of arrays: exact contents within limits, else thumbnails whose numbers are near those they stand for."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from screen import value_of

from backlit.inspector.pictures import BAD, Limits, Pictures, pooled

GENERATOR = np.random.default_rng(0)


def blocks(x, side):
    """The blocks that a thumbnail has a number for, row by row."""
    rows, cols = x.shape
    down, across = min(rows, side), min(cols, side)
    edges = [[k * n // m for k in range(m + 1)] for n, m in ((rows, down), (cols, across))]
    return [
        [x[edges[0][i] : edges[0][i + 1], edges[1][j] : edges[1][j + 1]].astype("f8") for j in range(across)]
        for i in range(down)
    ]


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e6, 1e300])
@pytest.mark.parametrize(("shape", "side"), [((70, 33), 16), ((5, 100), 8), ((3, 2), 8), ((1, 1), 4), ((64, 64), 32)])
def test_a_thumbnail_has_the_largest_of_each_block(shape, side, size):
    x = GENERATOR.standard_normal(shape) * size
    x[0, 0] = -4 * size  # a spike, which must survive
    levels, scale = pooled(x, side)
    assert levels.dtype == np.int8 and scale == pytest.approx(np.abs(x).max() / 127)
    for row, its in zip(levels, blocks(x, side), strict=True):
        for level, block in zip(row, its, strict=True):
            largest = block.reshape(-1)[np.argmax(np.abs(block))]
            assert abs(float(level) * scale - largest) <= scale / 2 * (1 + 1e-9)
            assert np.sign(level) == np.sign(largest) or abs(largest) <= scale / 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_block_that_is_not_finite_is_marked_and_does_not_hide_the_others(bad):
    x = GENERATOR.standard_normal((8, 8)).astype("f4")
    x[5, 6] = bad
    levels, scale = pooled(x, 4)
    marked = levels == BAD
    assert marked.sum() == 1 and marked[2, 3]
    finite = np.where(np.isfinite(x), x, 0)
    keep = np.ones((8, 8), bool)
    keep[4:6, 6:8] = False
    assert scale == pytest.approx(np.abs(finite[keep]).max() / 127, rel=1e-6)
    assert (levels[~marked] > BAD).all()


def test_zeros_have_no_scale():
    levels, scale = pooled(np.zeros((9, 9)), 4)
    assert scale == 0.0 and not levels.any()


def test_the_scale_is_in_the_file_and_the_numbers_are_those_of_the_array():
    arrays = [GENERATOR.standard_normal((100, 100)) * s for s in (1e-3, 1.0, 50.0)]
    pictures = Pictures()
    for x in arrays:
        pictures.add(x)
    tables = pictures.tables(Limits(full_elements=100))
    for row, x in enumerate(arrays):
        assert tables["array"]["full"][row] == 0
        rows, cols = tables["array"]["rows"][row], tables["array"]["cols"][row]
        found = [value_of(tables, f"array:{row}:raw:{i}") for i in range(rows * cols)]
        expected = [b.reshape(-1)[np.argmax(np.abs(b))] for line in blocks(x, 32) for b in line]
        assert np.allclose(found, expected, rtol=0, atol=np.abs(x).max() / 250)
        assert max(map(abs, found)) == pytest.approx(np.abs(x).max(), rel=1e-6)


@pytest.mark.parametrize(
    "array",
    [
        GENERATOR.standard_normal((3, 4)),
        GENERATOR.standard_normal((3, 4)).astype("f4").T,
        GENERATOR.standard_normal((2, 3, 4))[:, ::2],
        GENERATOR.standard_normal(5).astype(ml_dtypes.bfloat16),
        np.arange(6, dtype="i8") - 2,
        np.array([2**40, -3]),
        np.array([True, False]),
        np.float32(2.5),
        GENERATOR.standard_normal((2, 2, 3, 2)).astype("f2"),
    ],
    ids=lambda a: f"{a.dtype}{list(a.shape)}",
)
def test_small_arrays_are_there_exactly(array):
    pictures = Pictures()
    assert pictures.add(GENERATOR.standard_normal(3)) == 0  # so that nothing begins at 0
    row = pictures.add(array)
    tables = pictures.tables(Limits())
    entry = {name: column[row] for name, column in tables["array"].items()}
    assert entry["full"] == 1 and entry["rows"] * entry["cols"] * entry["slices"] == array.size
    assert (entry["rows"], entry["cols"]) == ((1, *array.shape)[-2:] if array.ndim else (1, 1))
    found = [value_of(tables, f"array:{row}:raw:{i}") for i in range(array.size)]
    assert found == [float(x) for x in np.asarray(array).reshape(-1)]


def test_the_smallest_are_kept_exactly_while_there_is_room():
    pictures = Pictures()
    for n in (70, 10, 60, 4000):
        pictures.add(GENERATOR.standard_normal(n))
    assert pictures.tables(Limits())["array"]["full"].tolist() == [1, 1, 1, 1]
    assert pictures.tables(Limits(full_bytes=8 * 75))["array"]["full"].tolist() == [0, 1, 1, 0]
    assert pictures.tables(Limits(full_elements=60))["array"]["full"].tolist() == [0, 1, 1, 0]


def test_thumbnails_shrink_until_all_fit():
    pictures = Pictures()
    for _ in range(4):
        pictures.add(GENERATOR.standard_normal((90, 90)))
    for room, side in ((4 * 32 * 32, 32), (4 * 32 * 32 - 1, 16), (4 * 4 * 4, 4), (3, 1)):
        tables = pictures.tables(Limits(full_elements=1, thumbnail_bytes=room))
        assert tables["array"]["rows"].tolist() == tables["array"]["cols"].tolist() == [side] * 4
    assert Limits().tighter().side == Limits().side // 2


def test_an_array_is_there_once():
    pictures, x = Pictures(), GENERATOR.standard_normal(4)
    assert pictures.add(x) == pictures.add(x) == 0 and pictures.add(np.zeros((0, 3))) == pictures.add(None) == -1
    assert len(pictures.tables(Limits())["array"]["rows"]) == 1
