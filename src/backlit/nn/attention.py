"""Multi-head attention, with PyTorch's names and layouts of parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit import functional as F
from backlit.arrays.creation import zeros
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.rng import Generator
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.attention import attention_weights
from backlit.nn import init
from backlit.nn.cache import KeyValueCache
from backlit.nn.linear import Linear
from backlit.nn.module import Module, Parameter
from backlit.ops import elementwise as ew
from backlit.ops.shape import broadcast_to, concat, expand_dims, matrix_transpose
from backlit.ops.statistics import mean


class MultiheadAttention(Module):
    """Attention of `num_heads` heads of embed_dim / num_heads numbers each (Vaswani et al., 2017).

    Shapes:
      query: [targets, batch, embed_dim]; key: [sources, batch, kdim]; value: [sources, batch, vdim]; the batch comes first with
      `batch_first`, and may be left out; result: shaped like query, and the weights [batch, targets, sources].

    Parameters `in_proj_weight: [3 embed_dim, embed_dim]` (or `q_proj_weight`, `k_proj_weight`, `v_proj_weight` where `kdim` or
    `vdim` is another), `in_proj_bias: [3 embed_dim]`, `out_proj.weight`, `out_proj.bias`, and `bias_k`, `bias_v` with
    `add_bias_kv`. Matrices start by Glorot's uniform rule, biases at 0. Without `need_weights` the weights are not given.
    `rotary`, a `RotaryEmbedding` of embed_dim / num_heads numbers, turns queries and keys by their positions.

    Raises:
      ArgumentError: the heads do not divide embed_dim.
      ShapeError: inputs or masks do not fit.
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False, *,
        rotary: Module | None = None, dtype: Any = None, generator: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise ArgumentError(f"MultiheadAttention: {num_heads} heads do not divide embed_dim {embed_dim}")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first = batch_first
        self.add_zero_attn = add_zero_attn
        self.register_module("rotary", rotary)
        one = self.kdim == self.vdim == embed_dim
        shapes = {
            "in_proj_weight": (3 * embed_dim, embed_dim) if one else None,
            "q_proj_weight": None if one else (embed_dim, embed_dim),
            "k_proj_weight": None if one else (embed_dim, self.kdim),
            "v_proj_weight": None if one else (embed_dim, self.vdim),
        }
        for name, shape in shapes.items():
            parameter = None if shape is None else Parameter(zeros(shape, dtype=dtype))
            if parameter is not None:
                init.xavier_uniform_(parameter, 1.0, generator)
            self.register_parameter(name, parameter)
        self.register_parameter("in_proj_bias", Parameter(zeros((3 * embed_dim,), dtype=dtype)) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype, generator=generator)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)
        for name in ("bias_k", "bias_v"):
            parameter = Parameter(zeros((1, 1, embed_dim), dtype=dtype)) if add_bias_kv else None
            if parameter is not None:
                init.xavier_normal_(parameter, 1.0, generator)
            self.register_parameter(name, parameter)

    def forward(
        self, query: Any, key: Any, value: Any, key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None,
        average_attn_weights: bool = True, is_causal: bool = False, *, cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """The attended values, and the weights with `need_weights`: their mean over the heads with `average_attn_weights`.

        `key_padding_mask: [batch, sources]` and `attn_mask: [targets, sources]` or [batch heads, targets, sources] are true where
        nothing is looked at, or floats to be added. `is_causal` lets a target see sources up to its own place. With a `cache`
        keys and values are added to those in it, and a target sees all up to its own; one that is fixed has all there are,
        and `key` and `value` are None. The sources of a padding mask are then those of the cache, [batch, capacity].
        """
        who = type(self).__name__
        fixed = cache is not None and cache.fixed
        if cache is not None and (attn_mask is not None or self.bias_k is not None or self.add_zero_attn):
            raise ArgumentError(f"{who}: a cache goes with no attn_mask, add_bias_kv or add_zero_attn{here()}")
        given = [as_tensor(x) for x in ((query,) if fixed else (query, key, value))]
        if len({x.ndim for x in given}) > 1 or given[0].ndim not in (2, 3):
            raise ShapeError(
                f"{who}: expected 3 axes, or 2 without a batch, got {' and '.join(map(shown, given))}{here()}"
            )
        sizes = (self.embed_dim, self.kdim, self.vdim)[: len(given)]
        if any(x.shape[-1] != n for x, n in zip(given, sizes, strict=True)):
            wanted = ", ".join(f"{name} [..., {n}]" for name, n in zip(("query", "key", "value"), sizes, strict=False))
            raise ShapeError(f"{who}: expected {wanted}, got {', '.join(map(shown, given))}{here()}")
        single = given[0].ndim == 2
        given = [self._batch_first(x) for x in given]
        heads = [self._heads(x, k) for k, x in enumerate(given)]
        batch, n_targets = given[0].shape[:2]
        if self.rotary is not None:
            start = 0 if cache is None else cache.length  # read before the cache grows
            heads[:2] = [self.rotary(x, start + np.arange(x.shape[2])) for x in heads[:2]]
        if cache is None:
            q, k, v = heads
            mask = self._mask(batch, n_targets, k.shape[2], key_padding_mask, attn_mask, is_causal, q.dtype, single)
            k, v, mask = self._with_more(k, v, mask)
        else:
            q, k, v, mask = self._cached(heads, cache, key_padding_mask, single)
        scores = (q * (1.0 / math.sqrt(q.shape[-1]))) @ matrix_transpose(k)
        weights = attention_weights(scores, mask)
        if self.training and self.dropout:
            weights = F.dropout(weights, self.dropout)
        out = weights @ v
        out = self.out_proj(out.permute((0, 2, 1, 3)).reshape((batch, n_targets, self.embed_dim)))
        out = out[0] if single else out if self.batch_first else out.permute((1, 0, 2))
        if not need_weights:
            return out, None
        weights = mean(weights, axis=1) if average_attn_weights else weights
        return out, weights[0] if single else weights

    def make_cache(self, batch_size: int, capacity: int) -> KeyValueCache:
        """An empty cache for `batch_size` sequences of up to `capacity` steps."""
        weight = self.out_proj.weight
        shape = (batch_size, self.num_heads, capacity, self.embed_dim // self.num_heads)
        return KeyValueCache(zeros(shape, dtype=weight.dtype), zeros(shape, dtype=weight.dtype), 0)

    def remember(self, key: Any, value: Any) -> KeyValueCache:
        """A fixed cache of keys and values, which are projected once for all calls; shapes are those of `forward`.

        It takes no part in gradients.

        Raises:
          ArgumentError: there are rotary positions, of which queries would have none.
        """
        if self.rotary is not None:
            raise ArgumentError(f"{type(self).__name__}: a fixed cache goes with no rotary positions{here()}")
        given = [self._batch_first(as_tensor(x)) for x in (key, value)]
        heads = [self._heads(x, k) for k, x in enumerate(given, 1)]
        return KeyValueCache(heads[0].detach(), heads[1].detach(), heads[0].shape[2], fixed=True)

    def _batch_first(self, x: Tensor) -> Tensor:
        return expand_dims(x, axis=0) if x.ndim == 2 else x if self.batch_first else x.permute((1, 0, 2))

    def _heads(self, x: Tensor, which: int) -> Tensor:
        """Queries (0), keys (1) or values (2) of `x: [batch, steps, size]`, [batch, heads, steps, size of a head]."""
        n, part = self.embed_dim, slice(which * self.embed_dim, (which + 1) * self.embed_dim)
        if self.in_proj_weight is not None:
            matrix: Tensor = self.in_proj_weight[part]
        else:
            own = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[which]
            assert own is not None
            matrix = own
        made = F.linear(x, matrix, None if self.in_proj_bias is None else self.in_proj_bias[part])
        return made.reshape((*x.shape[:2], self.num_heads, n // self.num_heads)).permute((0, 2, 1, 3))

    def _with_more(self, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values with the learned one and the one of zeros behind, where there are, which all targets see."""
        shape, extra = (k.shape[0], self.num_heads, 1, k.shape[3]), []
        if self.bias_k is not None and self.bias_v is not None:
            extra.append(tuple(broadcast_to(b.reshape((1, *shape[1:])), shape) for b in (self.bias_k, self.bias_v)))
        if self.add_zero_attn:
            nothing = Tensor(np.zeros(shape, k.dtype))
            extra.append((nothing, nothing))
        if not extra:
            return k, v, mask
        if mask is not None:
            more = (*mask.shape[:-1], len(extra))
            seen = np.ones(more, bool) if mask.dtype == bool else np.zeros(more, mask.dtype)
            mask = concat([mask, seen], axis=-1)
        return concat([k, *(e[0] for e in extra)], axis=2), concat([v, *(e[1] for e in extra)], axis=2), mask

    def _cached(
        self, heads: list[Tensor], cache: KeyValueCache, padding: Any, single: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """The queries, all keys and values, and which of them are seen."""
        q = heads[0]
        if cache.keys.shape[0] != q.shape[0]:
            raise ShapeError(
                f"{type(self).__name__}: the cache is of {cache.keys.shape[0]} sequences, {q.shape[0]} are given{here()}"
            )
        mask = self._mask(q.shape[0], q.shape[2], cache.capacity, padding, None, False, q.dtype, single)
        if cache.fixed:
            return q, cache.keys, cache.values, mask
        k, v, seen = cache.append(heads[1], heads[2])  # which nothing may refuse behind
        if mask is None:
            return q, k, v, seen
        mask = mask[..., : k.shape[2]]
        if mask.dtype == bool:
            return q, k, v, ew.logical_and(seen, mask)
        return q, k, v, ew.where(seen, mask, Tensor(np.array(-math.inf, q.dtype)))

    def _mask(
        self,
        batch: int,
        n_targets: int,
        n_sources: int,
        padding: Any,
        attention: Any,
        causal: bool,
        dtype: Any,
        single: bool,
    ) -> Tensor | None:
        """Which scores [batch, heads, targets, sources] count, or what is added to them; None for all and nothing."""
        parts = []
        if attention is not None:
            mask = as_tensor(attention)
            if mask.shape == (n_targets, n_sources):
                parts.append(mask)
            elif mask.shape == (batch * self.num_heads, n_targets, n_sources):
                parts.append(mask.reshape((batch, self.num_heads, n_targets, n_sources)))
            else:
                raise ShapeError(
                    f"MultiheadAttention: expected attn_mask [{n_targets}, {n_sources}] or "
                    f"[{batch * self.num_heads}, {n_targets}, {n_sources}], got {shown(mask)}{here()}"
                )
        elif causal:
            parts.append(Tensor(np.triu(np.ones((n_targets, n_sources), bool), 1)))
        if padding is not None:
            mask = as_tensor(padding)
            mask = expand_dims(mask, axis=0) if single else mask
            if mask.shape != (batch, n_sources):
                raise ShapeError(
                    f"MultiheadAttention: expected key_padding_mask [{batch}, {n_sources}], got {shown(mask)}{here()}"
                )
            parts.append(mask.reshape((batch, 1, 1, n_sources)))
        total = None
        if all(mask.dtype == bool for mask in parts):  # what is not seen is structurally zero
            for mask in parts:
                seen = ew.logical_not(mask)
                total = seen if total is None else ew.logical_and(total, seen)
            return total
        for mask in parts:
            added = (
                ew.where(mask, Tensor(np.array(-math.inf, dtype)), 0.0) if mask.dtype == bool else mask.astype(dtype)
            )
            total = added if total is None else total + added
        return total
