"""Sequences of different lengths: side by side with padding, or packed, that is all first steps, all second ones, and so on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from backlit.core import tree
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops.elementwise import where
from backlit.ops.shape import concat

Numbers = tuple[int, ...]


class PackedSequence:
    """Sequences without padding, longest first: `data: [total steps, ...]` has the first steps of all, then the second ones.

    `batch_sizes` says of how many sequences each step is. `sorted_indices` are the numbers that the sequences had, longest
    first, and `unsorted_indices` the places that they have; None where they were given so. These are Python's own: only
    `data` is a leaf of the tree, and a compiled function is compiled for them. `pack_padded_sequence` makes one.

    Raises:
      ShapeError: the sizes grow, or their sum is not that of the steps.
    """

    def __init__(
        self, data: Any, batch_sizes: Any, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> None:  # fmt: skip
        self.data = as_tensor(data)
        self.sizes = _numbers(batch_sizes)
        if sorted_indices is None and unsorted_indices is not None:
            sorted_indices = invert_permutation(unsorted_indices)
        self.order: Numbers | None = None if sorted_indices is None else _numbers(sorted_indices)
        if list(self.sizes) != sorted(self.sizes, reverse=True) or self.data.shape[:1] != (sum(self.sizes),):
            raise ShapeError(
                f"PackedSequence: the sizes {list(self.sizes)} are not those of {shown(self.data)}: they must not grow, and "
                f"their sum is the number of its rows{here()}"
            )

    @property
    def batch_sizes(self) -> Tensor:
        """The number of sequences at each step."""
        return Tensor(np.array(self.sizes, np.int64))

    @property
    def sorted_indices(self) -> Tensor | None:
        """The numbers that the sequences had, longest first."""
        return None if self.order is None else Tensor(np.array(self.order, np.int64))

    @property
    def unsorted_indices(self) -> Tensor | None:
        """The place among them of each sequence."""
        return None if self.order is None else invert_permutation(self.order)

    def with_data(self, data: Any) -> PackedSequence:
        """Other data for the same sequences."""
        return PackedSequence(data, self.sizes, self.order)

    def lengths(self) -> Any:
        """The length of each sequence in the order in which they were given."""
        found = (
            (np.array(self.sizes)[:, None] > np.arange(self.sizes[0])).sum(axis=0) if self.sizes else np.zeros(0, int)
        )
        return found if self.order is None else found[np.argsort(self.order)]

    def places(self) -> tuple[Any, Any]:
        """Of each row of `data` its step and the number that its sequence had."""
        steps = np.repeat(np.arange(len(self.sizes)), self.sizes)
        ranks = np.concatenate([np.arange(n) for n in self.sizes]) if self.sizes else np.zeros(0, int)
        return steps, ranks if self.order is None else np.array(self.order)[ranks]

    def __iter__(self) -> Iterator[Tensor | None]:
        return iter((self.data, self.batch_sizes, self.sorted_indices, self.unsorted_indices))

    def __repr__(self) -> str:
        return f"PackedSequence({self.data}, batch_sizes={list(self.sizes)}, sorted_indices={self.order})"


tree.register(
    PackedSequence,
    lambda packed: ((packed.data,), (packed.sizes, packed.order)),
    lambda aux, children: _rebuilt(children[0], *aux),
)


def _rebuilt(data: Any, sizes: Numbers, order: Numbers | None) -> PackedSequence:
    """One of any leaf, also of what is no tensor, as in a tree of axes."""
    made = PackedSequence.__new__(PackedSequence)
    made.data, made.sizes, made.order = data, sizes, order
    return made


def _numbers(x: Any) -> Numbers:
    return tuple(int(n) for n in (as_tensor(x).tolist() if not isinstance(x, tuple) else x))


def invert_permutation(permutation: Any) -> Tensor:
    """Where each number stands in a permutation."""
    return Tensor(np.argsort(np.array(_numbers(permutation), np.int64)))


def _lengths(who: str, lengths: Any, n_sequences: int, n_steps: int) -> Any:
    given = as_tensor(lengths)
    if given.shape != (n_sequences,) or given.dtype.kind not in "iu":
        raise ShapeError(f"{who}: lengths must be integers [{n_sequences}], got {shown(given)}{here()}")
    found = np.asarray(given.tolist(), np.int64)  # where they are traced this says what to do instead
    if found.size and not 1 <= found.min() <= found.max() <= n_steps:
        raise ArgumentError(f"{who}: lengths must be from 1 to {n_steps}, got {found.tolist()}{here()}")
    return found


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """`input: [steps, batch, ...]` (or [batch, steps, ...]) with only the first `lengths` steps of each sequence.

    With `enforce_sorted` the lengths must not grow; else the sequences are sorted, and known to be. In a compiled function
    `lengths` must be contents, not a traced value; recurrent layers take padded sequences with `lengths=` there.

    Raises:
      ShapeError: there are not two axes, or not as many lengths as sequences.
      ArgumentError: a length is out of range, or they grow.
    """
    x = as_tensor(input)
    if x.ndim < 2:
        raise ShapeError(f"pack_padded_sequence: expected [steps, batch, ...], got {shown(x)}{here()}")
    n_batch, n_steps = x.shape[:2] if batch_first else x.shape[1::-1]
    counts = _lengths("pack_padded_sequence", lengths, n_batch, n_steps)
    if not counts.size:
        raise ShapeError(f"pack_padded_sequence: there are no sequences in {shown(x)}{here()}")
    order: Numbers | None = None
    if not enforce_sorted:
        order = tuple(np.argsort(-counts, kind="stable").tolist())
    elif (np.diff(counts) > 0).any():
        raise ArgumentError(
            f"pack_padded_sequence: the lengths {counts.tolist()} grow; sort the sequences or use enforce_sorted=False{here()}"
        )
    sizes = tuple((counts[:, None] > np.arange(counts.max())).sum(axis=0).tolist())
    steps, numbers = _rebuilt(None, sizes, order).places()
    rows = numbers * n_steps + steps if batch_first else steps * n_batch + numbers
    return PackedSequence(x.reshape((n_batch * n_steps, *x.shape[2:]))[rows], sizes, order)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """`[steps, batch, ...]` (or [batch, steps, ...]) with `padding_value` behind each sequence, and the lengths [batch].

    There are `total_length` steps, or as many as the longest sequence has.

    Raises:
      TypeError: `sequence` is not packed.
      ArgumentError: `total_length` is less than the longest sequence.
    """
    if not isinstance(sequence, PackedSequence):
        raise TypeError(f"pad_packed_sequence: expected a PackedSequence, got {type(sequence).__name__}{here()}")
    lengths = sequence.lengths()
    longest = len(sequence.sizes)
    n_steps = longest if total_length is None else total_length
    if n_steps < longest:
        raise ArgumentError(
            f"pad_packed_sequence: total_length {n_steps} is below the longest sequence, {longest}{here()}"
        )
    rows = np.full((n_steps, len(lengths)), -1, np.int64)
    rows[sequence.places()] = np.arange(sum(sequence.sizes))
    return _padded(sequence.data, rows.T if batch_first else rows, padding_value), Tensor(lengths.astype(np.int64))


def _padded(data: Tensor, rows: Any, padding_value: float) -> Tensor:
    """The rows of `data` at numbers, and a value where a number is negative."""
    found = data[np.maximum(rows, 0)]
    inside = (rows >= 0).reshape(rows.shape + (1,) * (data.ndim - 1))
    return found if inside.all() else where(inside, found, padding_value)


def pad_sequence(
    sequences: Sequence[Any], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences `[steps, ...]` side by side, [longest, batch, ...] or [batch, longest, ...], with a value in what is left.

    Raises:
      ShapeError: there are none, or they differ behind their first axis.
      ArgumentError: `padding_side` is not "right" or "left".
    """
    if padding_side not in ("right", "left"):
        raise ArgumentError(f"pad_sequence: padding_side must be 'right' or 'left', got {padding_side!r}{here()}")
    given = [as_tensor(x) for x in sequences]
    if not given or any(not x.ndim or x.shape[1:] != given[0].shape[1:] for x in given):
        raise ShapeError(
            f"pad_sequence: expected sequences [steps, ...] that are alike behind the first axis, got "
            f"{', '.join(map(shown, given)) or 'none'}{here()}"
        )
    lengths = [len(x) for x in given]
    rows = np.full((len(given), max(lengths)), -1, np.int64)
    start = 0
    for row, n in zip(rows, lengths, strict=True):
        row[slice(0, n) if padding_side == "right" else slice(len(row) - n, None)] = np.arange(start, start + n)
        start += n
    if not start:
        raise ShapeError(f"pad_sequence: the sequences have no steps{here()}")
    return _padded(concat(given, axis=0), rows if batch_first else rows.T, padding_value)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences `[length, ...]` of `[steps, batch, ...]` (or [batch, steps, ...]) without their padding.

    Raises:
      ShapeError: there are not as many lengths as sequences.
      ArgumentError: a length is out of range.
    """
    x = as_tensor(padded_sequences)
    n_batch, n_steps = x.shape[:2] if batch_first else x.shape[1::-1]
    counts = _lengths("unpad_sequence", lengths, n_batch, n_steps)
    return [x[k, :n] if batch_first else x[:n, k] for k, n in enumerate(counts.tolist())]


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences `[steps, ...]` packed, as by `pack_padded_sequence`.

    Raises:
      ShapeError: there are none, or they differ behind their first axis.
      ArgumentError: their lengths grow, with `enforce_sorted`.
    """
    lengths = np.array([len(as_tensor(x)) for x in sequences], np.int64)
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences `[length, ...]` of a packed one, in the order in which they were given."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
