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
        dtype: Any = None, generator: Generator | None = None,
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
        average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """The attended values, and the weights with `need_weights`: their mean over the heads with `average_attn_weights`.

        `key_padding_mask: [batch, sources]` and `attn_mask: [targets, sources]` or [batch heads, targets, sources] are true where
        nothing is looked at, or floats to be added. `is_causal` lets a target see sources up to its own place.
        """
        q, k, v = as_tensor(query), as_tensor(key), as_tensor(value)
        if not q.ndim == k.ndim == v.ndim or q.ndim not in (2, 3):
            raise ShapeError(
                f"MultiheadAttention: expected 3 axes, or 2 without a batch, got {shown(q)}, {shown(k)} and {shown(v)}{here()}"
            )
        single = q.ndim == 2
        if single:
            q, k, v = (expand_dims(x, axis=0) for x in (q, k, v))
        elif not self.batch_first:
            q, k, v = (x.permute((1, 0, 2)) for x in (q, k, v))
        q, k, v = self._projected(q, k, v)
        batch, n_targets, n_sources = q.shape[0], q.shape[1], k.shape[1]
        mask = self._mask(batch, n_targets, n_sources, key_padding_mask, attn_mask, is_causal, q.dtype, single)
        extra = []
        if self.bias_k is not None and self.bias_v is not None:
            extra.append(
                (
                    broadcast_to(self.bias_k, (batch, 1, self.embed_dim)),
                    broadcast_to(self.bias_v, (batch, 1, self.embed_dim)),
                )
            )
        if self.add_zero_attn:
            nothing = Tensor(np.zeros((batch, 1, self.embed_dim), q.dtype))
            extra.append((nothing, nothing))
        if extra:
            k, v = concat([k, *(pair[0] for pair in extra)], axis=1), concat([v, *(pair[1] for pair in extra)], axis=1)
            if mask is not None:
                seen = (
                    np.ones((*mask.shape[:-1], len(extra)), bool)
                    if mask.dtype == bool
                    else np.zeros((*mask.shape[:-1], len(extra)), mask.dtype)
                )
                mask = concat([mask, seen], axis=-1)
        heads = [x.reshape((batch, x.shape[1], self.num_heads, -1)).permute((0, 2, 1, 3)) for x in (q, k, v)]
        scores = (heads[0] * (1.0 / math.sqrt(heads[0].shape[-1]))) @ matrix_transpose(heads[1])
        weights = attention_weights(scores, mask)
        if self.training and self.dropout:
            weights = F.dropout(weights, self.dropout)
        out = weights @ heads[2]
        out = self.out_proj(out.permute((0, 2, 1, 3)).reshape((batch, n_targets, self.embed_dim)))
        out = out[0] if single else out if self.batch_first else out.permute((1, 0, 2))
        if not need_weights:
            return out, None
        weights = mean(weights, axis=1) if average_attn_weights else weights
        return out, weights[0] if single else weights

    def _projected(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n = self.embed_dim
        if self.in_proj_weight is not None:
            matrices = [self.in_proj_weight[i * n : (i + 1) * n] for i in range(3)]
        else:
            matrices = [w for w in (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight) if w is not None]
        biases = [None if self.in_proj_bias is None else self.in_proj_bias[i * n : (i + 1) * n] for i in range(3)]
        found = [F.linear(x, w, b) for x, w, b in zip((q, k, v), matrices, biases, strict=True)]
        return found[0], found[1], found[2]

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
