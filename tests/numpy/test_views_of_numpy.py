"""Writing through what is a view in NumPy is an error in a program that uses `backlit.numpy`, and nowhere else."""

from __future__ import annotations

import operator
import runpy

import pytest

import backlit as bl
import backlit.numpy as np
from backlit.core.errors import WriteError

VIEWS = {
    "row": lambda a: a[0],
    "slice": lambda a: a[1:, ::2],
    "reversed": lambda a: a[::-1],
    "new axis": lambda a: a[None, ..., 0],
    "transposed": lambda a: a.T,
    "method": lambda a: a.reshape(-1),
    "flat": lambda a: np.ravel(a),
    "reshape": lambda a: np.reshape(a, (4, 3)),
    "axes": lambda a: np.swapaxes(a, 0, 1),
    "keyword": lambda a: np.transpose(a=a),
    "split": lambda a: np.split(a, 3)[1],
    "slice of a slice": lambda a: a[1:][:, 1:],
    "first of an iteration": lambda a: next(iter(a)),
}
COPIES = {
    "copy": lambda a: a[0].copy(),
    "array": lambda a: np.array(a[0]),
    "integers": lambda a: a[[0, 2]],
    "mask": lambda a: a[a > 3],
    "computed": lambda a: a[0] * 2,
    "of what is gone": lambda a: (a * 2)[1:],
    "one element": lambda a: a[0, 1],
    "kept in a list": lambda a: next(v + 1 for v in a),
}
WRITES = {
    "element": lambda x: x.__setitem__(Ellipsis, 7.0),
    "in place": lambda x: operator.iadd(x, 1.0),
}


def made():
    return np.arange(12.0).reshape(3, 4) + 0.0


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("view", VIEWS)
def test_writing_through_a_view_is_an_error(view, write):
    a = made()
    x = VIEWS[view](a)
    with pytest.raises(WriteError, match=r"in NumPy float64\[.*is a view.*copy\(\)"):
        WRITES[write](x)
    assert np.array_equal(a, made()) and np.array_equal(x, VIEWS[view](a))


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("copy", COPIES)
def test_what_numpy_copies_may_be_written_to(copy, write):
    a = made()
    x = COPIES[copy](a)
    before = x.tolist()
    WRITES[write](x)
    assert np.array_equal(a, made()) and x.tolist() != before


def test_the_base_may_be_written_to_and_a_view_once_it_is_alone():
    a = made()
    row = a[0]
    a[0, 0] = 5.0
    a += 1
    assert (a[0, 0].item(), row[0].item()) == (6.0, 0.0)
    del a
    row[1] = 9.0
    assert row.tolist() == [0.0, 9.0, 2.0, 3.0]


@pytest.mark.parametrize("transform", [bl.grad, bl.compile, lambda f: lambda x: bl.jvp(f, (x,), (x,))[0]])
def test_inside_transforms(transform):
    def alone(x):
        row = (x * 2)[0]
        row[0] = x[1, 1]
        return (row * row).sum()

    def through(x):
        row = x[0]
        row[0] = 1.0
        return row.sum()

    transform(alone)(made())
    with pytest.raises(WriteError, match="is a view"):
        transform(through)(made())


PROGRAM = """
def run():
    a = bl.ones((2, 3))
    row = a[0]
    row[0] = 5.0
    row += 1
    return a.tolist(), row.tolist()
"""


def test_other_programs_write_to_slices(tmp_path):
    file = tmp_path / "program.py"
    file.write_text("import backlit as bl\n" + PROGRAM)
    assert runpy.run_path(str(file))["run"]() == ([[1.0] * 3] * 2, [6.0, 2.0, 2.0])
    file.write_text("from backlit import numpy as bl\n" + PROGRAM)
    with pytest.raises(WriteError, match=r"program.py:6\)$"):
        runpy.run_path(str(file))["run"]()


def test_in_place_at_an_index_is_a_write_to_the_base():
    a = made()
    a[0] += 1
    a[1:, ::2] *= 2.0
    a.T[0]  # a view that is gone
    assert a.tolist() == [[1.0, 2.0, 3.0, 4.0], [8.0, 5.0, 12.0, 7.0], [16.0, 9.0, 20.0, 11.0]]
