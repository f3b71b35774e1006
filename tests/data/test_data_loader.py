import gc
import itertools
import threading
import time
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backlit as bl
from backlit import data
from backlit.core.errors import ArgumentError, DataError


def numbers(n=50):
    return data.TensorDataset(np.arange(2.0 * n, dtype=np.float32).reshape(n, 2), np.arange(n))


class Items(data.Dataset):
    """Items one by one, each with a random number of the batch's stream."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return {"x": np.full(3, i, np.float32), "noise": data.current_generator().uniform((), dtype=np.float64), "i": i}


class Stream(data.IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        for i in range(self.n):
            yield i, data.current_generator().uniform((), dtype=np.float64)


def plain(x):
    return bl.tree.map(lambda leaf: leaf.tolist() if isinstance(leaf, bl.Tensor) else leaf, x)


def epoch(loader):
    return [plain(batch) for batch in loader]


def test_a_batch_is_the_rows_as_tensors():
    batches = list(data.DataLoader(numbers(5), batch_size=2))
    assert [y.tolist() for _, y in batches] == [[0, 1], [2, 3], [4]]
    x, y = batches[1]
    assert isinstance(x, bl.Tensor) and isinstance(y, bl.Tensor) and type(batches[0]) is tuple
    assert x.dtype == np.float32 and y.dtype == np.int64 and x.tolist() == [[4.0, 5.0], [6.0, 7.0]]


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(0, 40),
    size=st.integers(1, 9),
    drop_last=st.booleans(),
    shuffle=st.booleans(),
    threads=st.integers(0, 3),
)
def test_every_row_comes_once(n, size, drop_last, shuffle, threads):
    loader = data.DataLoader(numbers(n), size, shuffle, num_workers=threads, drop_last=drop_last)
    batches = [y.tolist() for _, y in loader]
    assert len(batches) == len(loader)
    assert all(len(b) == size for b in batches[: None if drop_last else -1])
    rows = sorted(itertools.chain(*batches))
    assert len(rows) == len(set(rows)) == (n // size * size if drop_last else n)
    assert set(rows) <= set(range(n))


def test_the_order_is_the_generators_and_another_one_each_epoch():
    first = data.DataLoader(numbers(), 50, shuffle=True, generator=bl.Generator(5))
    orders = [next(iter(first))[1].tolist() for _ in range(3)]
    assert orders[0] == bl.Generator(5).permutation(50).tolist()
    assert len(set(map(tuple, orders))) == 3
    again = data.DataLoader(numbers(), 50, shuffle=True, generator=bl.Generator(5))
    assert [next(iter(again))[1].tolist() for _ in range(3)] == orders


def test_the_order_of_a_seed_is_fixed_across_machines_and_versions():
    loader = data.DataLoader(np.arange(12), 12, shuffle=True, generator=bl.Generator(0))
    assert epoch(loader) == [[0, 8, 9, 3, 7, 5, 1, 11, 2, 10, 6, 4]]


def test_without_a_generator_the_seed_of_the_program_decides_and_draws_elsewhere_do_not():
    orders = []
    for draws in (0, 3):
        bl.random.seed(4)
        loader = data.DataLoader(numbers(), 7, shuffle=True)
        for _ in range(draws):
            bl.random.uniform((10,))
        orders.append(epoch(loader))
    assert orders[0] == orders[1]
    assert epoch(data.DataLoader(numbers(), 7, shuffle=True)) != orders[0]


MAKERS = {
    "rows": lambda **o: data.DataLoader(numbers(), 8, shuffle=True, **o),
    "rows in order": lambda **o: data.DataLoader(numbers(), 8, **o),
    "items": lambda **o: data.DataLoader(Items(30), 4, shuffle=True, drop_last=True, **o),
    "stream": lambda **o: data.DataLoader(Stream(30), 4, **o),
    "stream of whole items": lambda **o: data.DataLoader(Stream(9), None, **o),
    "items as they are": lambda **o: data.DataLoader(Items(9), None, shuffle=True, **o),
    "weights": lambda **o: data.DataLoader(
        numbers(), 8, sampler=data.WeightedRandomSampler(np.arange(50.0), 30, generator=bl.Generator(1)), **o
    ),
    "batch sampler": lambda **o: data.DataLoader(
        numbers(), batch_sampler=data.BatchSampler(data.RandomSampler(range(50), True, 23), 5), **o
    ),
    "sampler of one's own": lambda **o: data.DataLoader(numbers(), 7, sampler=[5, 3, 1] * 6, **o),
    "transform": lambda **o: data.DataLoader(
        numbers(), 8, shuffle=True, transform=lambda x: x + data.current_generator().uniform(x.shape).numpy(), **o
    ),
}  # fmt: skip


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_a_resumed_pass_goes_on_exactly(maker, threads, tmp_path):
    bl.random.seed(1)
    loader = maker(num_workers=threads)
    epochs = [epoch(loader) for _ in range(3)]
    assert loader.epoch == 3
    for done, n in [(0, 0), (0, 1), (1, 3), (1, len(epochs[0]) - 1), (1, len(epochs[0])), (2, 2)]:
        bl.random.seed(1)
        loader = maker(num_workers=threads)
        for _ in range(done):
            epoch(loader)
        passing = iter(loader)
        for _ in range(n):
            next(passing)
        bl.save(loader.state_dict(), tmp_path / "state.safetensors")
        bl.random.seed(99)
        resumed = maker(num_workers=threads)
        resumed.load_state_dict(bl.load(tmp_path / "state.safetensors"))
        assert resumed.epoch == done
        np.testing.assert_equal(resumed.state_dict()["batch"], n)
        found = [epoch(resumed) for _ in range(3 - done)]
        assert found == [epochs[done][n:], *epochs[done + 1 :]]
        assert resumed.epoch == 3


@settings(deadline=None, max_examples=40)
@given(
    maker=st.sampled_from(sorted(MAKERS)),
    threads=st.integers(0, 2),
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=8),
)
def test_a_run_that_is_killed_again_and_again_sees_what_one_run_sees(maker, threads, lengths):
    def run(lengths):
        """Batches of runs of these lengths, each of which goes on from the state that the one before has left."""
        bl.random.seed(6)
        seen, state = [], None
        for length in lengths:
            loader = MAKERS[maker](num_workers=threads)
            if state is not None:
                loader.load_state_dict(state)
            left = length
            while left:
                for batch in loader:
                    seen.append((loader.epoch, plain(batch)))
                    left -= 1
                    if not left:
                        break
            state = loader.state_dict()
        return seen

    assert run(lengths) == run([sum(lengths)])


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_between_epochs_the_state_is_the_beginning_of_the_next(maker):
    loader = maker()
    epoch(loader)
    state = loader.state_dict()
    assert (state["epoch"], state["batch"], state["start"]) == (1, 0, None)
    expected = epoch(loader)
    bl.random.seed(98)
    for resumed in (loader, maker()):
        resumed.load_state_dict(state)
        assert epoch(resumed) == expected


def test_a_state_of_another_sampler():
    loader = data.DataLoader(numbers(), 8, sampler=data.RandomSampler(range(50)))
    with pytest.raises(DataError, match="the state is of another sampler"):
        loader.load_state_dict(data.DataLoader(numbers(), 8).state_dict())


def test_a_generator_that_others_draw_from_is_put_back_where_it_was():
    generator = bl.Generator(3)
    loader = data.DataLoader(numbers(), 8, shuffle=True, generator=generator)
    passing = iter(loader)
    next(passing)
    generator.uniform((5,))  # dropout, say
    state = loader.state_dict()
    rest, drawn, following = epoch(passing), generator.uniform((3,)).tolist(), epoch(loader)
    generator = bl.Generator(77)
    loader = data.DataLoader(numbers(), 8, shuffle=True, generator=generator)
    loader.load_state_dict(state)
    assert (epoch(loader), generator.uniform((3,)).tolist(), epoch(loader)) == (rest, drawn, following)


def test_prefetched_batches_do_not_count():
    loader = data.DataLoader(numbers(), 5, prefetch_factor=8)
    passing = iter(loader)
    next(passing)
    assert loader.state_dict()["batch"] == 1
    passing.close()


def test_an_epoch_that_is_left_is_followed_by_another():
    loader = data.DataLoader(numbers(), 5, shuffle=True, generator=bl.Generator(1))
    first = next(iter(loader))[1].tolist()
    assert loader.epoch == 0
    second = next(iter(loader))[1].tolist()
    assert (loader.epoch, first != second) == (1, True)


def test_two_passes_at_once_have_orders_of_their_own():
    loader = data.DataLoader(numbers(10), 1, shuffle=True, generator=bl.Generator(1))
    both = [(a[1].item(), b[1].item()) for a, b in zip(loader, loader, strict=True)]
    assert sorted(a for a, _ in both) == sorted(b for _, b in both) == list(range(10))
    assert any(a != b for a, b in both)


def test_threads_change_nothing():
    for name in ("items", "transform", "stream"):
        found = []
        for threads in (0, 1, 4):
            bl.random.seed(2)
            found.append(epoch(MAKERS[name](num_workers=threads)))
        assert found[0] == found[1] == found[2]


def test_every_batch_draws_numbers_of_its_own():
    loader = data.DataLoader(Items(40), 5, num_workers=2)
    drawn = [x for _ in range(2) for batch in loader for x in batch["noise"].tolist()]
    assert len(set(drawn)) == 80


def test_collating_keeps_the_structure():
    Point = namedtuple("Point", "x label")
    dataset = [{"a": Point(np.ones(2), 1), "b": [True, 2.5, "text"], "c": (bl.tensor(3.0), None)} for _ in range(3)]
    (batch,) = data.DataLoader(dataset, 3)
    assert type(batch["a"]) is Point and batch["a"].x.shape == (3, 2) and batch["a"].x.dtype == np.float64
    assert batch["a"].label.dtype == np.int64 and batch["b"][0].dtype == bool and batch["b"][1].dtype == np.float32
    assert batch["b"][2] == ["text"] * 3 and batch["c"][0].shape == (3,) and batch["c"][1] is None


def test_a_collate_function_of_ones_own():
    def padded(items):
        longest = max(map(len, items))
        return np.stack([np.pad(x, (0, longest - len(x))) for x in items]), list(map(len, items))

    dataset = [np.ones(n) for n in (1, 3, 2)]
    (batch,) = data.DataLoader(dataset, 3, collate_fn=padded)
    assert batch[0].shape == (3, 3) and batch[1] == [1, 3, 2]
    first, _ = next(iter(data.DataLoader(numbers(), 2, collate_fn=lambda items: (items[0][0], len(items)))))
    assert first.shape == (2,)


def test_a_transform_is_of_the_first_element():
    Pair = namedtuple("Pair", "x y")

    class Named(data.Dataset):
        takes_rows = True

        def __len__(self):
            return 4

        def __getitem__(self, rows):
            return Pair(np.ones((len(rows), 2)), rows)

    (batch,) = data.DataLoader(Named(), 4, transform=lambda x: x * 2)
    assert type(batch) is Pair and batch.x.tolist() == [[2.0, 2.0]] * 4 and batch.y.tolist() == [0, 1, 2, 3]
    (array,) = data.DataLoader(np.ones((2, 3)), 2, transform=lambda x: x * 3)
    assert array.tolist() == [[3.0] * 3] * 2


def test_no_more_is_prefetched_than_asked():
    fetched, allowed = [], threading.Semaphore(0)

    class Counted(data.Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, i):
            fetched.append(i)
            if len(fetched) == 4:
                allowed.release()
            return i

    passing = iter(data.DataLoader(Counted(), 1, num_workers=1, prefetch_factor=3))
    next(passing)  # one given out, three ahead of it
    assert allowed.acquire(timeout=10)
    time.sleep(0.2)  # for one too many to be begun
    del passing
    gc.collect()
    assert len(fetched) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be an integer of at least 1, got 2.5"),
        ({"shuffle": True, "sampler": [1]}, "a sampler gives the order"),
        ({"batch_sampler": [[1]], "drop_last": True}, "a batch_sampler gives the batches"),
        ({"batch_size": None, "drop_last": True}, "batch_size=None gives items as they are"),
        ({"num_workers": -1}, "num_workers must be an integer of at least 0"),
        ({"prefetch_factor": 1.5}, "prefetch_factor must be an integer of at least 0"),
        ({"generator": 3}, "generator must be a backlit.Generator, got int"),
        ({"dataset": Stream(3), "shuffle": True}, "an IterableDataset has its own order"),
        ({"dataset": (np.ones(3), np.ones(3))}, r"a tuple is no dataset of rows; give data.TensorDataset\(\*arrays\)"),
        ({"dataset": {"x": np.ones(3)}}, "a dict is no dataset of rows"),
    ],
)
def test_arguments_that_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        data.DataLoader(arguments.pop("dataset", numbers()), **arguments)


@pytest.mark.parametrize("rows", [[0.5, 1.7], np.ones(10, bool)])
def test_rows_of_a_batch_sampler_that_are_no_numbers_of_rows(rows):
    loader = data.DataLoader(np.arange(20.0).reshape(10, 2), batch_sampler=[rows])
    with pytest.raises(DataError, match="DataLoader: expected row numbers, integers on one axis"):
        next(iter(loader))


def test_a_dataset_without_a_length():
    with pytest.raises(DataError, match="Nameless has no length; state __len__"):
        data.DataLoader(type("Nameless", (data.Dataset,), {})())
    loader = data.DataLoader(Stream(3), 2)
    with pytest.raises(TypeError):
        len(loader)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([np.ones(2), np.ones(3)], r"items of a batch differ: float64\[2\], float64\[3\]; pad"),
        ([1, 2.0], r"items of a batch differ: float32\[\], int64\[\]"),
        ([1, "a"], r"items of a batch differ: int64\[\], str"),
        ([(1, 2), (1, 2, 3)], "item 1 of a batch is a tuple of 3, the first is a tuple of 2"),
        ([{"a": 1}, {"b": 1}], "item 1 of a batch is a dict of 'b', the first is a dict of 'a'"),
        ([1, None], "item 1 of a batch is a NoneType, the first is a int"),
    ],
)
def test_items_that_make_no_batch(items, message):
    with pytest.raises(DataError, match=message):
        next(iter(data.DataLoader(items, len(items))))
    with pytest.raises(DataError, match="no items"):
        data.default_collate([])


@pytest.mark.parametrize("state", [{}, None, {"epoch": "x"}, {"epoch": 0, "batch": 2, "start": None, "generator": {}}])
def test_states_that_are_none(state):
    with pytest.raises(DataError, match="expected what state_dict gives"):
        data.DataLoader(numbers()).load_state_dict(state)


def test_damage_to_any_part_of_a_state_is_noticed():
    loader = data.DataLoader(numbers(), 8, shuffle=True)
    next(iter(loader))
    state = loader.state_dict()
    for name in ("epoch", "batch", "generator", "start"):
        for value in (None, "x", -1):
            if (name, value) == ("start", None):
                continue
            with pytest.raises(DataError):
                data.DataLoader(numbers(), 8).load_state_dict({**state, name: value})


def test_a_state_of_other_batches():
    loader = data.DataLoader(numbers(), 8)
    passing = iter(loader)
    next(passing)
    with pytest.raises(DataError, match="in the middle|middle of an epoch of 7 batches, here are 10"):
        data.DataLoader(numbers(), 5).load_state_dict(loader.state_dict())


def test_a_loader_inside_a_compiled_function_says_so():
    @bl.compile
    def total(x):
        for (part,) in data.DataLoader(data.TensorDataset(np.ones((4, 2))), 2):
            x = x + part.sum()
        return x

    with pytest.raises(bl.TraceError, match="split"):
        total(np.zeros(()))
