import math

import numpy as np
import pytest

import backlit
from backlit.core import tree
from backlit.core.dtypes import promote
from backlit.core.errors import DTypeError
from backlit.ops import elementwise, special


def test_integer_with_float_promotes_to_the_float():
    assert promote(np.dtype(np.int64), np.dtype(np.float32)) == np.float32


def test_python_floats_become_float32_and_arrays_keep_their_dtype():
    assert backlit.tensor([1.0]).dtype == np.float32
    assert backlit.tensor(np.array([1.0])).dtype == np.float64


def test_integers_have_no_gradient():
    with pytest.raises(DTypeError, match="int64"):
        backlit.tensor(np.array([1]), requires_grad=True)


def test_tree_rebuilds_what_it_flattened():
    x = {"a": [1, (2, 3)], "b": None}
    leaves, structure = tree.flatten(x)
    assert leaves == [1, 2, 3]
    assert tree.unflatten(structure, leaves) == x


def test_same_seed_same_bits():
    a, b = (backlit.Generator(3).normal((5,)).numpy() for _ in range(2))
    assert np.array_equal(a, b)


def test_erf_agrees_with_the_c_library():
    x = np.linspace(-6, 6, 1001)
    expected = np.array([math.erf(v) for v in x])
    assert np.max(np.abs(special.erf(backlit.tensor(x)).numpy() - expected)) <= 4 * np.finfo(float).eps


def test_a_recorded_node_keeps_only_what_its_rule_reads():
    x = backlit.tensor(np.array([0.5]), requires_grad=True)
    node = elementwise.tanh(x).node
    assert np.array_equal(node.out, np.tanh([0.5]))
    assert type(node.inputs[0]).__name__ == "Missing"
    assert node.source.file == __file__
