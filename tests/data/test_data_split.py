import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlit.core.errors import ArgumentError, DataError
from backlit.core.rng import Generator
from backlit.data import split_rows


def test_each_class_keeps_its_share():
    labels = np.array(["a"] * 50 + ["b"] * 10 + ["c"] * 5)
    train, test = split_rows(labels, 65, fraction=0.2)
    assert [np.count_nonzero(labels[test] == c) for c in "abc"] == [10, 2, 1]
    assert sorted([*train, *test]) == list(range(65))


def test_the_total_is_right_when_shares_are_no_whole_numbers():
    labels = np.repeat(np.arange(5), 3)  # a share of 0.6 rows each, 3 in all
    _, test = split_rows(labels, 15, fraction=0.2)
    assert labels[test].tolist() == [0, 1, 2]


def test_the_largest_remainder_goes_first():
    labels = np.array([0] * 3 + [1] * 4)  # shares of 0.6 and 0.8 rows, 1 in all
    assert labels[split_rows(labels, 7, fraction=0.2)[1]].tolist() == [1]


def test_classes_with_one_row_stay_in_training():
    labels = [0, 1, 1, 1, 1, 1, 2]
    train, test = split_rows(labels, 7, fraction=0.5)
    assert {0, 6} <= set(train)
    assert len(test) == 3  # the share of class 1 is 2.5 rows; it does not stand in for the other two


def test_a_share_that_is_whole_is_kept_when_others_cannot_give():
    labels = [0, 0, 0, 1, 2]  # a third of five rows is two, but only class 0 can give any
    assert len(split_rows(labels, 5, fraction=1 / 3)[1]) == 1


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    first, again, other = (split_rows(None, 100, seed=s)[1].tolist() for s in (3, 3, 4))
    assert first == again != other
    assert first == sorted(first)
    assert len(first) == 20


def test_the_split_is_fixed_across_versions():
    train, test = split_rows(None, 10, fraction=0.3, seed=0)
    assert test.dtype == train.dtype == np.int64
    assert test.tolist() == sorted(Generator(0).permutation(10)[:3].tolist())


@settings(deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=60), fraction=st.floats(0.01, 0.99))
def test_every_split_is_sound(labels, fraction):
    labels = np.array(labels)
    if len(set(labels.tolist())) == len(labels):
        with pytest.raises(DataError, match="every class has a single row"):
            split_rows(labels, len(labels), fraction)
        return
    train, test = split_rows(labels, len(labels), fraction)
    assert sorted([*train, *test]) == list(range(len(labels)))
    assert len(test) >= 1
    assert set(labels[train]) == set(labels)
    for c in set(labels.tolist()):
        n = np.count_nonzero(labels == c)
        n_test = np.count_nonzero(labels[test] == c)
        assert n_test <= n - 1
        assert n_test < fraction * n + 1  # the share rounded up at most
        assert n_test == n - 1 or n_test > fraction * n - 1


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_fraction_out_of_range(fraction):
    with pytest.raises(ArgumentError, match="fraction must be between 0 and 1"):
        split_rows(None, 10, fraction)


def test_too_few_rows_and_labels_of_another_length():
    with pytest.raises(DataError, match="at least 2 rows"):
        split_rows(None, 1)
    with pytest.raises(DataError, match=r"labels \[5\], got \[4\]"):
        split_rows([0, 0, 1, 1], 5)
