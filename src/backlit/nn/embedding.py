"""Embedding and EmbeddingBag: rows of a table, and what they are in bags together."""

from __future__ import annotations

from typing import Any, Self

from backlit import functional as F
from backlit.arrays.creation import zeros
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.rng import Generator
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor, no_grad
from backlit.nn import init
from backlit.nn.module import Module, Parameter


class Embedding(Module):
    """Rows of `weight: [num_embeddings, embedding_dim]` at integers `[...]`, giving `[..., embedding_dim]`.

    `weight` starts normal with mean 0 and standard deviation 1, drawn from `generator`; row `padding_idx` is 0 and gets no
    gradient. `max_norm`, `norm_type` and `scale_grad_by_freq` are those of `functional.embedding`.

    Raises:
      ArgumentError: `padding_idx` is no row; at a call, a number is none.
    """

    weight: Parameter

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False, _weight: Any = None,
        _freeze: bool = False, *, dtype: Any = None, generator: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ArgumentError(f"Embedding: padding_idx {padding_idx} is not among {num_embeddings} rows")
            padding_idx %= num_embeddings
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if _weight is None:
            self.weight = Parameter(zeros((num_embeddings, embedding_dim), dtype=dtype), requires_grad=not _freeze)
            init.normal_(self.weight, generator=generator)
            if padding_idx is not None:
                with no_grad():
                    self.weight[padding_idx] = 0.0
            return
        table = as_tensor(_weight)
        if table.shape != (num_embeddings, embedding_dim):
            raise ShapeError(f"Embedding: expected [{num_embeddings}, {embedding_dim}], got {shown(table)}{here()}")
        self.weight = Parameter(table, requires_grad=not _freeze)

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
    ) -> Self:  # fmt: skip
        """One with the rows `embeddings: [num_embeddings, embedding_dim]`, which are not trained unless `freeze` is False.

        Raises:
          ShapeError: `embeddings` is no matrix.
        """
        table = as_tensor(embeddings)
        if table.ndim != 2:
            raise ShapeError(f"Embedding.from_pretrained: expected [rows, size], got {shown(table)}{here()}")
        rows, size = table.shape
        return cls(rows, size, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, table, freeze)

    def forward(self, input: Any) -> Tensor:
        """The rows at `input`."""
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The arguments that are not the usual ones."""
        shown = [f"{self.num_embeddings}, {self.embedding_dim}"]
        shown += [
            f"{name}={value}"
            for name, value, usual in (
                ("padding_idx", self.padding_idx, None), ("max_norm", self.max_norm, None), ("norm_type", self.norm_type, 2),
                ("scale_grad_by_freq", self.scale_grad_by_freq, False), ("sparse", self.sparse, False),
            )
            if value != usual
        ]  # fmt: skip
        return ", ".join(shown)


class EmbeddingBag(Module):
    """The mean, sum or largest elements of rows of `weight: [num_embeddings, embedding_dim]` at bags of numbers.

    `functional.embedding_bag` says what bags are. `weight` starts normal with mean 0 and standard deviation 1, drawn from
    `generator`; row `padding_idx` is 0 and does not count.

    Raises:
      ArgumentError: `padding_idx` is no row, or there is no such mode.
    """

    weight: Parameter

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, _weight: Any = None,
        include_last_offset: bool = False, padding_idx: int | None = None, *, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if mode not in ("sum", "mean", "max"):
            raise ArgumentError(f"EmbeddingBag: mode must be 'sum', 'mean' or 'max', got {mode!r}")
        table = Embedding(num_embeddings, embedding_dim, padding_idx, _weight=_weight, dtype=dtype, generator=generator)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.padding_idx = table.padding_idx
        self.weight = table.weight
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, max_norm: float | None = None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> Self:  # fmt: skip
        """One with the rows `embeddings: [num_embeddings, embedding_dim]`, which are not trained unless `freeze` is False.

        Raises:
          ShapeError: `embeddings` is no matrix.
        """
        table = as_tensor(embeddings)
        if table.ndim != 2:
            raise ShapeError(f"EmbeddingBag.from_pretrained: expected [rows, size], got {shown(table)}{here()}")
        rows, size = table.shape
        made = cls(
            rows, size, max_norm, norm_type, scale_grad_by_freq, mode, sparse, table, include_last_offset, padding_idx
        )  # fmt: skip
        made.weight.requires_grad_(not freeze)
        return made

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        """What the rows of each bag are together."""
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode, self.sparse,
            per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The arguments that are not the usual ones."""
        shown = [f"{self.num_embeddings}, {self.embedding_dim}"]
        shown += [
            f"{name}={value}"
            for name, value, usual in (
                ("max_norm", self.max_norm, None), ("norm_type", self.norm_type, 2),
                ("scale_grad_by_freq", self.scale_grad_by_freq, False),
            )
            if value != usual
        ]  # fmt: skip
        last = [] if self.padding_idx is None else [f"padding_idx={self.padding_idx}"]
        return ", ".join([*shown, f"mode={self.mode!r}", *last])
