"""Every function of backlit.numpy against NumPy's own: value, dtype, and derivative against differences of NumPy's."""

from __future__ import annotations

import re

import numpy
import pytest
import samples

import backlit as bl
import backlit.numpy as bnp
from backlit import grad
from backlit.autodiff.check import directional
from backlit.core.dtypes import is_float
from backlit.core.tensor import Tensor

ALL = [
    c for t in (samples.CALLS, samples.UFUNC_CALLS, samples.LINALG_CALLS, samples.FFT_CALLS) for c in samples.calls(t)
]


def run(call, module, values):
    with numpy.errstate(all="ignore"):
        return eval(call, {"np": module}, dict(values))


def parts(found):
    return list(found) if isinstance(found, (tuple, list)) else [found]


def used(call):
    return [
        name
        for name in samples.VALUES
        if re.search(rf"\b{name}\b(?!\()", re.sub(r"np\.\w+(\.\w+)*|\"\w*\"|lambda t.*?:", "", call))
    ]


@pytest.mark.parametrize("call", ALL)
def test_value_and_derivative_are_numpys(call):
    wanted = parts(run(call, numpy, samples.VALUES))
    got = parts(run(call, bnp, {k: bl.tensor(v) for k, v in samples.VALUES.items()}))
    assert len(wanted) == len(got)
    for a, b in zip(wanted, got, strict=True):
        if not isinstance(a, (numpy.ndarray, numpy.generic)):
            assert a == b
            continue
        assert isinstance(b, Tensor) and b.shape == a.shape and b.dtype == a.dtype
        numpy.testing.assert_allclose(numpy.asarray(b), a, rtol=2e-6 if a.dtype == numpy.float32 else 1e-12, atol=1e-14)
    name = re.match(r"np\.((linalg\.|fft\.)?\w+)", call)[1]
    if name not in bnp.functions.PLAIN and name not in {f"linalg.{n}" for n in bnp.linalg.PLAIN}:
        derivative(call, wanted)


def derivative(call, wanted):
    """The gradient of a weighted sum of all parts that are floats, against differences of NumPy's own function."""
    floats = [k for k, a in enumerate(wanted) if isinstance(a, (numpy.ndarray, numpy.generic)) and a.dtype.kind in "fc"]
    names = [n for n in used(call) if is_float(samples.VALUES[n].dtype) and samples.VALUES[n].dtype.kind == "f"]
    if not floats or not names or any(wanted[k].dtype == numpy.float32 for k in floats) or "linalg.lstsq" in call:
        return
    rng = numpy.random.default_rng(1)
    weights = {k: rng.standard_normal(wanted[k].shape) for k in floats}
    ways = {n: rng.standard_normal(samples.VALUES[n].shape) for n in names}

    def total(module, found):
        found = parts(found)
        return sum(module.sum(module.real(found[k]) * w) for k, w in weights.items())

    def along(t):
        moved = {n: samples.VALUES[n] + t * ways[n] for n in names}
        return numpy.asarray(total(numpy, run(call, numpy, {**samples.VALUES, **moved})))

    expected, _ = directional(along, 1e-4)
    others = {k: bl.tensor(v) for k, v in samples.VALUES.items() if k not in names}
    f = lambda given: total(bnp, run(call, bnp, {**others, **given}))
    found = grad(f)({n: samples.VALUES[n] for n in names})
    got = sum(float(numpy.vdot(numpy.asarray(found[n]), ways[n])) for n in names if found[n] is not None)
    assert got == pytest.approx(float(expected), rel=1e-7, abs=1e-7)


def named():
    return {name for c in ALL for name, _ in re.findall(r"np\.((linalg\.|fft\.)?\w+)", c)}


def test_every_function_has_a_sample():
    quiet = {
        "set_printoptions",
        "get_printoptions",
        "printoptions",
        "save",
        "savez",
        "savez_compressed",
        "savetxt",
        "loadtxt",
        "genfromtxt",
    }
    writes = {"put", "place", "putmask", "copyto", "fill_diagonal", "put_along_axis"}  # tested below
    quiet |= {"seterr", "geterr", "spacing", "array_repr", "load"}
    there = set(bnp.FUNCTIONS) | set(bnp.UFUNCS)
    there |= {f"linalg.{n}" for n in bnp.linalg.__all__ if n != "LinAlgError"} | {f"fft.{n}" for n in bnp.fft.__all__}
    assert there - named() - quiet - writes == set()


@pytest.mark.parametrize(
    "write",
    [
        lambda np, a, y: np.put(a, [0, -1, 3], y[0, :2]),
        lambda np, a, y: np.place(a, a > 1, y[0]),
        lambda np, a, y: np.putmask(a, a > 1, y),
        lambda np, a, y: np.copyto(a, y[0]),
        lambda np, a, y: np.fill_diagonal(a, y[0, 0]),
        lambda np, a, y: np.put_along_axis(a, np.argsort(a, 1)[:, :1], y[:, :1], 1),
        lambda np, a, y: np.add.at(a, ([0, 0, 1], [1, 1, 2]), y[0, :3]),
        lambda np, a, y: np.maximum.at(a, [0, 0], y[:2]),
    ],
)
def test_functions_that_write(write):
    x, y = samples.VALUES["x"], samples.VALUES["y"]
    wanted = x.copy()
    write(numpy, wanted, y)

    def written(x, y):
        a = bnp.copy(x)
        write(bnp, a, y)
        return a

    numpy.testing.assert_allclose(numpy.asarray(written(bl.tensor(x), bl.tensor(y))), wanted, rtol=1e-15)
    bl.gradcheck(written, x, y)


def test_numbers_are_float64_and_what_is_not_there_is_said():
    assert (
        bnp.array([1.0]).dtype
        == bnp.zeros(2).dtype
        == bnp.sin(0.5).dtype
        == bnp.linspace(0, 1, 3).dtype
        == numpy.float64
    )
    assert bnp.add([0.1], [0.2]).item() == 0.1 + 0.2 and bnp.sum([0.1, 0.2]).item() == 0.1 + 0.2
    assert (bnp.ones(2, dtype=bnp.float32) * 0.5).dtype == bnp.multiply(bnp.ones(2, "f4"), 0.5).dtype == numpy.float32
    assert bnp.float64 is numpy.float64 and bnp.pi == numpy.pi and isinstance(bnp.zeros(1), bnp.ndarray)
    for call, says in (
        (lambda: bnp.sum([1.0], out=bnp.zeros(1)), "out= is not supported; a value is never written to"),
        (lambda: bnp.add(1.0, 2.0, bnp.zeros(1)), "out= is not supported"),
        (lambda: bnp.add(1.0, 2.0, where=[True]), "where= is not supported"),
        (lambda: bnp.sum([1.0], where=[True]), "where= is not supported; choose with np.where"),
        (lambda: bnp.array([None]), "arrays of objects"),
        (lambda: bnp.fromiter([1.0, 2.0], float, 3), "expected 3 numbers, got 2"),
        (lambda: bnp.array([1.0], dtype=object), "object arrays are not supported"),
        (lambda: bnp.zeros(2, order="F"), "order= is not supported"),
        (lambda: bnp.zeros(2, colour="red"), "no parameter 'colour'"),
        (lambda: bnp.sum(), "missing a required argument"),
        (lambda: bnp.vectorize(abs), "has no attribute 'vectorize': NumPy has it"),
        (lambda: bnp.sum_of, "has no attribute 'sum_of': neither"),
        (lambda: bnp.linalg.matrix_sqrt, "backlit.numpy.linalg has no attribute"),
        (lambda: bnp.fft.dct, "backlit.numpy.fft has no attribute"),
        (lambda: bnp.subtract.reduce([1.0]), "np.subtract.reduce: only add"),
        (lambda: bnp.concatenate(3), "expected a sequence"),
        (lambda: grad(lambda x: bnp.i0(x).sum())(numpy.ones(2)), "np.i0: has no gradient"),
    ):
        with pytest.raises((bl.BacklitError, AttributeError), match=says):
            call()


def test_grids_and_joiners():
    for f in (lambda np: np.mgrid[0:2, 0:3], lambda np: np.ogrid[0:2, 0:3][1], lambda np: np.r_[1.0, np.array([2.0, 3.0]), 0:2], lambda np: np.c_[np.array([1.0, 2.0]), np.array([3.0, 4.0])]):  # fmt: skip
        numpy.testing.assert_array_equal(numpy.asarray(f(bnp)), f(numpy))


def test_numpys_own_functions_lead_here():
    x = bl.tensor(samples.VALUES["x"])
    for call in ("np.vstack([x, x])", "np.gradient(x, axis=0)", "np.sort(x)", "np.std(x, ddof=1)", "np.add.reduce(x)", "np.linalg.norm(x)", "np.clip(x, 0.5, 1.0)", "np.shape(x)", "np.subtract.outer(x[0], x[1])", "np.fft.rfft(x)"):  # fmt: skip
        got, wanted = run(call, numpy, {"x": x}), run(call, numpy, samples.VALUES)
        assert isinstance(got, (Tensor, tuple))
        numpy.testing.assert_allclose(numpy.asarray(got), wanted, rtol=1e-12)
    slope = grad(lambda x: numpy.sum(numpy.vstack([x, numpy.exp(x)])))(numpy.zeros((1, 2)))
    assert slope.tolist() == [[2, 2]]


def test_methods_of_numpys_arrays():
    x = samples.VALUES["x"]
    for call in (lambda x: x.std(ddof=1), lambda x: x.var(axis=0, ddof=1), lambda x: x.round(1), lambda x: x.cumsum(1), lambda x: x.dot(x.T), lambda x: x.take([0, 2], 1), lambda x: x[0].searchsorted(1.0), lambda x: x.mean(0, dtype=numpy.float32)):  # fmt: skip
        got, wanted = call(bl.tensor(x)), call(x)
        assert got.dtype == wanted.dtype
        numpy.testing.assert_allclose(numpy.asarray(got), wanted, rtol=1e-6 if wanted.dtype == numpy.float32 else 1e-13)
    t = bl.tensor(x)
    assert t.nbytes == x.nbytes and t.itemsize == x.itemsize and t.item(1, 2) == x.item(1, 2) and t.item(5) == x.item(5)
    t.fill(2.0)
    assert t.tolist() == numpy.full(x.shape, 2.0).tolist()
