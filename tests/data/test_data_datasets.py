import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backlit as bl
from backlit import data
from backlit.core.errors import ArgumentError, DataError


class Squares(data.Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return np.array([i, i * i])


def test_items_and_rows_of_arrays():
    dataset = data.TensorDataset(np.arange(6.0).reshape(3, 2), bl.tensor([1, 2, 3]), [[1.0], [2.0], [3.0]])
    assert len(dataset) == 3
    x, y, z = dataset[1]
    assert x.tolist() == [2.0, 3.0] and y == 2 and z.dtype == np.float32
    assert [a.tolist() for a in dataset[np.array([2, 0])]] == [[[4.0, 5.0], [0.0, 1.0]], [3, 1], [[3.0], [1.0]]]
    assert dataset[-1][1] == 3 and dataset[1:][1].tolist() == [2, 3]


def test_arrays_are_not_copied():
    x = np.zeros((3, 2))
    assert np.shares_memory(data.TensorDataset(x).tensors[0], x)


@pytest.mark.parametrize("arrays", [(), (np.ones(3), np.ones(4)), (np.float64(1.0),)])
def test_arrays_that_are_no_dataset(arrays):
    with pytest.raises(DataError, match="a first axis of one length"):
        data.TensorDataset(*arrays)


@pytest.mark.parametrize("base", [Squares(10), data.TensorDataset(np.arange(10)), np.arange(10), list(range(10))])
def test_a_subset(base):
    part = data.Subset(base, [7, 2, -1, 2])
    assert len(part) == 4 and isinstance(part, data.Dataset)
    whole = next(iter(data.DataLoader(part, 4)))
    first = (whole[0] if isinstance(whole, tuple) else whole).tolist()
    assert [v[0] if isinstance(v, list) else v for v in first] == [7, 2, 9 if not isinstance(base, Squares) else -1, 2]
    nested = data.Subset(part, np.array([1]))
    assert len(nested) == 1 and np.ravel(next(iter(data.DataLoader(nested, 1)))[0])[0] == 2


def test_a_subset_of_rows_that_are_not_there():
    with pytest.raises(DataError, match="has 3 items, none with the number 3"):
        data.Subset(range(3), [0, 3])
    with pytest.raises(DataError, match="expected row numbers, integers on one axis, got float64"):
        data.Subset(range(3), [0.5])
    with pytest.raises(DataError, match=r"got int64\[1, 2\]"):
        data.Subset(range(3), [[0, 1]])


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_datasets_one_after_another(lengths, seed):
    starts = np.cumsum([0, *lengths])
    parts = [data.TensorDataset(np.arange(n) + s, np.ones((n, 2)) * s) for n, s in zip(lengths, starts, strict=False)]
    both = data.ConcatDataset(parts)
    n = sum(lengths)
    assert len(both) == n and [both[i][0] for i in range(n)] == list(range(n)) and both.takes_rows
    loader = data.DataLoader(both, 3, shuffle=True, generator=bl.Generator(seed))
    found = [y for x, _ in loader for y in x.tolist()]
    assert found == bl.Generator(seed).permutation(n).tolist()
    for i in (-1, -n):
        if n:
            assert both[i][0] == range(n)[i]


def test_datasets_of_both_kinds():
    both = Squares(2) + Squares(3)
    assert isinstance(both, data.ConcatDataset) and not both.takes_rows
    (batch,) = data.DataLoader(both, 5)
    assert batch.tolist() == [[0, 0], [1, 1], [0, 0], [1, 1], [2, 4]]


def test_unlike_datasets_in_one_batch():
    both = data.ConcatDataset([np.zeros((2, 3)), np.zeros((2, 4))])
    with pytest.raises(DataError, match=r"unlike datasets in one batch: float64\[3\], float64\[4\]"):
        next(iter(data.DataLoader(both, 4)))
    with pytest.raises(DataError, match="at least one dataset"):
        data.ConcatDataset([])
    with pytest.raises(IndexError, match="4 items has none with the number 4"):
        both[4]


def test_streams_one_after_another():
    class Count(data.IterableDataset):
        def __iter__(self):
            yield from range(3)

        def __len__(self):
            return 3

    both = Count() + Count()
    assert isinstance(both, data.ChainDataset) and len(data.DataLoader(both, 4)) == 2
    assert [b.tolist() for b in data.DataLoader(both, 4)] == [[0, 1, 2, 0], [1, 2]]
    assert [b.tolist() for b in data.DataLoader(both, 4, drop_last=True)] == [[0, 1, 2, 0]]
    assert list(data.DataLoader(both, None)) == [0, 1, 2, 0, 1, 2]


def test_a_dataset_that_states_nothing():
    with pytest.raises(NotImplementedError, match="states no __getitem__"):
        data.Dataset()[0]
    with pytest.raises(NotImplementedError, match="states no __iter__"):
        iter(data.IterableDataset())


@pytest.mark.parametrize(
    ("n", "lengths", "found"),
    [(10, [7, 3], [7, 3]), (10, [0.85, 0.15], [9, 1]), (10, [0.3, 0.3, 0.4], [3, 3, 4]), (7, [0.5, 0.5], [4, 3]), (1, [1, 0], [1, 0]),
     (3, [1.0], [3]), (0, [], []), (5, [1 / 3] * 3, [2, 2, 1])],
)  # fmt: skip
def test_a_random_split(n, lengths, found):
    parts = data.random_split(np.arange(n), lengths, bl.Generator(3))
    assert [len(p) for p in parts] == found
    rows = [int(p[i]) for p in parts for i in range(len(p))]
    assert rows == bl.Generator(3).permutation(n).tolist()


@pytest.mark.parametrize("lengths", [[5, 4], [0.5, 0.4], [12, -2], [9.5, 0.5], [float("nan")]])
def test_a_split_that_does_not_add_up(lengths):
    with pytest.raises(ArgumentError, match="random_split"):
        data.random_split(np.arange(10), lengths)


def test_samplers_draw_what_they_say():
    order = list(data.RandomSampler(range(10), generator=bl.Generator(1)))
    assert sorted(order) == list(range(10)) and order != list(range(10))
    assert list(data.SequentialSampler(range(3))) == [0, 1, 2]
    twice = list(data.RandomSampler(range(4), num_samples=7))
    assert len(twice) == 7 and sorted(twice[:4]) == [0, 1, 2, 3]
    drawn = data.RandomSampler(range(3), replacement=True, num_samples=300)
    counts = np.bincount(list(drawn), minlength=3)
    assert len(drawn) == counts.sum() == 300 and counts.min() > 60
    assert sorted(data.SubsetRandomSampler([5, 7, 9])) == [5, 7, 9]
    batches = list(data.BatchSampler(range(5), 2))
    assert [b.tolist() for b in batches] == [[0, 1], [2, 3], [4]]
    assert len(data.BatchSampler(range(5), 2, drop_last=True)) == len(list(data.BatchSampler(range(5), 2, True))) == 2


def test_weights_are_proportions():
    weights = [0.0, 1.0, 3.0, 0.0]
    counts = np.bincount(list(data.WeightedRandomSampler(weights, 4000)), minlength=4)
    assert counts[0] == counts[3] == 0
    assert abs(counts[2] / 4000 - 0.75) < 0.04
    firsts = [next(iter(data.WeightedRandomSampler(weights, 2, replacement=False))) for _ in range(400)]
    assert abs(firsts.count(2) / 400 - 0.75) < 0.1
    assert sorted(data.WeightedRandomSampler(weights, 2, replacement=False)) == [1, 2]


def test_points_between_weights_fall_on_rows_that_have_some():
    class Given:
        def uniform(self, *arguments, **options):
            return bl.tensor(np.array([0.0, 0.25, 1.0 - 2.0**-53]))

    sampler = data.WeightedRandomSampler([0.0, 1.0, 3.0, 0.0], 3)
    sampler.generator = Given()
    assert list(sampler) == [1, 2, 2]
    tiny = data.WeightedRandomSampler([1e-30, 0.1, 0.2, 0.3, 0.0], 3)
    tiny.generator = Given()
    assert max(tiny) == 3  # a sum that rounds up leads to no row of weight 0


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: data.RandomSampler([], num_samples=3), ArgumentError),
        (lambda: data.RandomSampler([1], num_samples=-1), ArgumentError),
        (lambda: data.RandomSampler([1], num_samples=2.5), ArgumentError),
        (lambda: data.WeightedRandomSampler([1.0], 2.5), ArgumentError),
        (lambda: data.BatchSampler([1], 0), ArgumentError),
        (lambda: data.WeightedRandomSampler([0.0, 0.0], 1), DataError),
        (lambda: data.WeightedRandomSampler([1.0, -1.0], 1), DataError),
        (lambda: data.WeightedRandomSampler([1.0, np.nan], 1), DataError),
        (lambda: data.WeightedRandomSampler([[1.0]], 1), DataError),
        (lambda: data.WeightedRandomSampler([1.0], 0), ArgumentError),
        (lambda: data.WeightedRandomSampler([1.0, 0.0], 2, replacement=False), ArgumentError),
        (lambda: data.SubsetRandomSampler(["a"]), DataError),
        (lambda: data.RandomSampler(iter([])), DataError),
    ],
)
def test_samplers_that_are_refused(make, error):
    with pytest.raises(error):
        make()


def test_samplers_go_on_from_a_state():
    sampler = data.RandomSampler(range(20))
    list(sampler)
    state = sampler.state_dict()
    expected = list(sampler)
    other = data.RandomSampler(range(20))
    other.load_state_dict(state)
    assert list(other) == expected
    with pytest.raises(ArgumentError):
        other.load_state_dict({})
    with pytest.raises(NotImplementedError, match="neither rows nor __iter__"):
        list(data.Sampler())
