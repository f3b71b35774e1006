"""Dtypes: what they hold, become and promote to; what other libraries ask of arrays."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import backlit as bl
from backlit.core.dtype_names import KINDS

DTYPES = [*KINDS["bool"], *KINDS["numeric"]]


def test_result_type_is_what_ops_give():
    for x, y in itertools.product(DTYPES, DTYPES):
        if {x, y} == {np.dtype(np.int64), np.dtype(np.uint64)} or (x.kind + y.kind == "iu" and y == "uint64"):
            continue
        if (x.kind + y.kind) in ("iu", "ui") and "uint64" in (str(x), str(y)):
            continue  # NumPy's float64, of which the standard says nothing
        wanted = bl.result_type(x, y)
        assert (bl.ones(2, dtype=x) * bl.ones((), dtype=y)).dtype == wanted == bl.result_type(y, bl.ones(3, dtype=x)), (
            x,
            y,
        )
    for x, number in itertools.product(DTYPES, (True, 2, 2.0, 2j)):
        assert (bl.ones(2, dtype=x) * number).dtype == bl.result_type(x, number) == bl.result_type(number, x), (
            x,
            number,
        )


def test_promotion_is_numpys_within_a_kind_and_the_floats_across():
    assert bl.result_type(bl.int64, bl.float16) == bl.float16
    assert bl.result_type(bl.bfloat16, bl.float16) == bl.float32
    assert bl.result_type(bl.float64, bl.complex64) == bl.complex128
    for kind in ("signed integer", "unsigned integer", "complex floating"):
        for x, y in itertools.product(KINDS[kind], KINDS[kind]):
            assert bl.result_type(x, y) == np.result_type(x, y)


def test_can_cast_and_isdtype():
    assert bl.can_cast(bl.float32, bl.float64) and not bl.can_cast(bl.float64, bl.float32)
    assert bl.can_cast(bl.ones(2), bl.complex64) and not bl.can_cast(bl.int16, bl.uint16)
    for kind, members in KINDS.items():
        assert [d for d in DTYPES if bl.isdtype(d, kind)] == sorted(members, key=DTYPES.index)
    assert bl.isdtype(bl.int8, (bl.bool, "integral")) and not bl.isdtype(bl.int8, bl.int16)
    with pytest.raises(ValueError, match="real floating"):
        bl.isdtype(bl.int8, "float")


def test_limits():
    for dtype in KINDS["real floating"] + KINDS["complex floating"]:
        info = bl.finfo(dtype)
        one, below = np.ones((), info.dtype), np.asarray(info.smallest_normal).astype(info.dtype)
        assert (one + np.asarray(info.eps).astype(info.dtype)) > one and below == info.smallest_normal
        assert info.bits == 8 * info.dtype.itemsize and info.min == -info.max
        with np.errstate(over="ignore"):
            assert np.isinf(np.asarray(info.max).astype(info.dtype) * (one + one))
    for dtype in KINDS["integral"]:
        info = bl.iinfo(bl.ones(2, dtype=dtype))
        assert (info.max, info.min, info.dtype) == (np.iinfo(dtype).max, np.iinfo(dtype).min, dtype)
    for call, said in (
        (lambda: bl.finfo(bl.int8), "iinfo"), (lambda: bl.iinfo(bl.float32), "finfo"), (lambda: bl.finfo(3), "dtype or an array"),
        (lambda: bl.result_type(1, 2.0), "array or a dtype"), (lambda: bl.finfo("no dtype"), "dtype or an array"),
    ):  # fmt: skip
        with pytest.raises(bl.DTypeError, match=said):
            call()


def test_what_the_namespace_says_of_itself():
    info = bl.__array_namespace_info__()
    assert info.devices() == [info.default_device()] == ["cpu"] and info.capabilities()["boolean indexing"]
    for kind, members in KINDS.items():
        assert tuple(info.dtypes(kind=kind).values()) == tuple(sorted(members, key=DTYPES.index))
    assert info.dtypes()["bool"] == bl.bool and len(info.dtypes()) == 15
    defaults = info.default_dtypes(device="cpu")
    assert defaults["real floating"] == bl.ones(1).dtype and defaults["complex floating"] == bl.tensor(1j).dtype
    assert defaults["integral"] == bl.arange(2).dtype and defaults["indexing"] == bl.argmax(bl.ones(2)).dtype
    for call in (lambda: info.dtypes(device="gpu"), lambda: bl.ones(1).to_device("gpu")):
        with pytest.raises(ValueError, match="cpu"):
            call()


def test_arrays_are_given_to_others():
    x = bl.tensor([1.0, 2.0])
    assert x.__array_namespace__() is x.__array_namespace__(api_version="2024.12") is bl
    with pytest.raises(ValueError, match=r"2024\.12"):
        x.__array_namespace__(api_version="2099.01")
    assert x.device == "cpu" and x.to_device(x.device) is x and bl.__array_api_version__ == "2024.12"
    shared = np.from_dlpack(x)
    x[0] = 5.0  # a new value: nobody else sees it
    assert shared.tolist() == [1.0, 2.0] and x.tolist() == [5.0, 2.0]
    assert x.__dlpack_device__() == (1, 0)
    with pytest.raises(bl.DTypeError, match="bfloat16"):
        bl.tensor([1.0], dtype=bl.bfloat16).__dlpack__()
    with pytest.raises(bl.GradientError, match="detach"):
        (bl.tensor([1.0], requires_grad=True) * 2).__dlpack__()
    assert bl.compile(lambda y: y.to_device(y.device) * 2)(x).tolist() == [10.0, 4.0]


def test_numbers_of_tensors():
    assert [10, 20, 30][bl.tensor(1)] == 20 and complex(bl.tensor(2 - 1j)) == 2 - 1j and float(bl.tensor(0.5)) == 0.5
    for call in (lambda: float(bl.tensor(1j)), lambda: [1][bl.tensor(0.0)], lambda: int(bl.tensor(1j))):
        with pytest.raises(TypeError):
            call()
