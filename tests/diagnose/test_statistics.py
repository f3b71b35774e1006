"""Statistics of arrays of every kind, against NumPy."""

from __future__ import annotations

import math
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest

from backlit.diagnose.statistics import HISTOGRAM_EDGES, Statistics, compared, late, measure, memory_key

GENERATOR = np.random.default_rng(0)
DENSE = GENERATOR.standard_normal((7, 5)).astype("f4")
ARRAYS = {
    "matrix": DENSE,
    "transposed": DENSE.T,
    "strided": DENSE[::2, ::-1],
    "repeated": np.broadcast_to(DENSE[0], (6, 5)),
    "repeated column": np.broadcast_to(DENSE[:, :1], (7, 9)),
    "double": DENSE.astype("f8") * 1e200,
    "tiny double": DENSE.astype("f8") * 1e-200,
    "tiny": DENSE * np.float32(1e-36),
    "many": GENERATOR.standard_normal((61, 17)).astype("f4"),
    "many doubles": GENERATOR.standard_normal((13, 17)),
    "wild among many": np.where(np.arange(200) % 7 == 0, np.nan, np.where(np.arange(200) % 11 == 0, -np.inf, 1.5)),
    "half": DENSE.astype("f2"),
    "bfloat16": DENSE.astype(ml_dtypes.bfloat16),
    "integers": np.arange(-3, 9),
    "truth": np.array([True, False, True]),
    "number": np.float32(-2.5),
    "holes": np.array([0.0, np.nan, np.inf, -np.inf, 1e-40, -3.0], "f4"),
    "nothing finite": np.array([np.nan, np.inf], "f4"),
    "zeros": np.zeros((3, 2), "f4"),
    "negative zeros": -np.zeros(3, "f4"),
    "positive": np.abs(DENSE) + 1,
}


@pytest.mark.parametrize("histogram", [True, False])
@pytest.mark.parametrize("name", ARRAYS)
def test_against_numpy(name, histogram):
    array = ARRAYS[name]
    found = measure(array, histogram)
    x = np.asarray(array).astype("f8").reshape(-1)
    finite = x[np.isfinite(x)]
    assert (found.n, found.nans, found.infs) == (x.size, np.isnan(x).sum(), np.isinf(x).sum())
    if not finite.size:
        assert math.isnan(found.min) and math.isnan(found.rms) and found.norm == 0.0
        return
    assert (found.min, found.max, found.absmax) == (finite.min(), finite.max(), np.abs(finite).max())
    assert found.zeros == np.sum(finite == 0) and math.copysign(1.0, found.absmax) == 1.0
    scale = np.abs(finite).max() or 1.0
    assert found.mean == pytest.approx(finite.mean(), rel=1e-5, abs=1e-6 * scale)
    assert found.rms == pytest.approx(scale * np.sqrt(np.mean((finite / scale) ** 2)), rel=1e-5)
    assert found.norm == pytest.approx(scale * np.linalg.norm(finite / scale), rel=1e-5)
    if array.dtype.kind == "f" and array.dtype != np.float16:
        small = np.abs(finite) < np.finfo(array.dtype).smallest_normal
        assert found.subnormals == np.sum(small & (finite != 0))
    if not histogram:
        assert found.histogram is None
        return
    edges = np.array(HISTOGRAM_EDGES)
    counted = finite[finite != 0]
    expected = [np.sum((counted > low) & (counted < high)) for low, high in pairwise(edges)]
    expected[-1] += np.sum(counted >= edges[-1])
    expected[0] += np.sum(counted <= edges[0])
    on_edge = np.isin(counted, edges).any()
    assert found.histogram.sum() == counted.size
    if not on_edge:
        assert found.histogram.tolist() == expected


def test_edges_belong_to_the_bin_of_larger_magnitude():
    counts = measure(np.array([4.0, -4.0, 3.9, -3.9])).histogram
    k = HISTOGRAM_EDGES.index(4.0)
    assert counts[k] == 1 and counts[k - 1] == 1
    k = HISTOGRAM_EDGES.index(-4.0)
    assert counts[k - 1] == 1 and counts[k] == 1


def test_no_elements():
    assert measure(np.zeros((0, 3))).n == 0
    assert measure(np.zeros((0, 3)), histogram=False).norm == 0.0


def test_a_view_of_all_elements_is_the_same_memory():
    assert memory_key(DENSE) == memory_key(DENSE.T)
    assert memory_key(DENSE) != memory_key(DENSE.copy())
    assert memory_key(DENSE) != memory_key(DENSE[:3])


@pytest.mark.parametrize("name", ARRAYS)
def test_what_is_worked_out_late_is_the_same(name):
    found, expected = late(ARRAYS[name]), measure(ARRAYS[name], histogram=False)
    for field in Statistics.__slots__:
        a, b = getattr(found, field), getattr(expected, field)
        assert a == b or (math.isnan(a) and math.isnan(b)), field
    assert found.histogram is None and not hasattr(found, "unknown")


@pytest.mark.parametrize("dtype", ["f4", "f8", ml_dtypes.bfloat16, "i4"])
@pytest.mark.parametrize("shape", [(), (3,), (16,), (37, 5)])
@pytest.mark.parametrize("turned", [False, True])
def test_an_array_and_its_distance_from_another(dtype, shape, turned):
    after, before = (GENERATOR.standard_normal(shape).astype("f4") * 10 for _ in range(2))
    after, before = after.astype(dtype), before.astype(dtype)
    if turned:
        after = after.T
        before = np.asfortranarray(before).T if len(shape) < 2 else np.ascontiguousarray(before.T)
    found, change = compared(after, before)
    assert change == pytest.approx(
        np.linalg.norm((after - before).astype("f8")), rel=1e-2 if dtype is ml_dtypes.bfloat16 else 1e-6
    )
    assert found.norm == pytest.approx(np.linalg.norm(after.astype("f8")), rel=1e-6)
    assert found.max == float(after.max())
