"""Attention: weighted means of values, weighted by how well queries and keys agree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.rng import Generator
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.activation import softmax
from backlit.functional.dropout import dropout
from backlit.ops import array, reduce
from backlit.ops import elementwise as ew
from backlit.ops.linear import astype, broadcast_to, reshape, sum
from backlit.ops.shape import matrix_transpose


@scope
def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False, *, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """softmax(query key^T scale + mask) value, over the last two axes (Vaswani et al., 2017).

    Shapes:
      query: [..., n, e]; key: [..., m, e]; value: [..., m, v]; the result: [..., n, v]; other axes broadcast.

    `scale` is 1 / sqrt(e) unless given. `attn_mask`, which broadcasts to [..., n, m], is added, or where it is boolean
    says which keys take part: all others have weight 0 and are structurally zero. `is_causal` lets query i see the keys
    up to i. A query that sees no key gives 0. Weights are dropped with probability `dropout_p`, also outside of
    training, by `generator` or the default one. With `enable_gqa` key and value may have fewer heads, [..., heads, m, e],
    each for as many queries in a row. The weights [..., n, m] are kept for the gradient.

    Raises:
      ShapeError: the axes do not fit, or the heads of the query are no multiple of those of key and value.
      DTypeError: query, key and value are not floats of one dtype.
      ArgumentError: both a mask and is_causal are given.
    """
    query, key, value = (as_tensor(x) for x in (query, key, value))
    if (
        min(x.ndim for x in (query, key, value)) < 2
        or query.shape[-1] != key.shape[-1]
        or key.shape[-2] != value.shape[-2]
    ):
        raise ShapeError(
            f"scaled_dot_product_attention: expected query [..., n, e], key [..., m, e] and value [..., m, v], got "
            f"{shown(query)}, {shown(key)} and {shown(value)}{here()}"
        )
    if not is_float(query.dtype) or not query.dtype == key.dtype == value.dtype:
        raise DTypeError(
            f"scaled_dot_product_attention: expected floats of one dtype, got {query.dtype}, {key.dtype} and {value.dtype}; "
            f"use .astype{here()}"
        )
    if is_causal and attn_mask is not None:
        raise ArgumentError(f"scaled_dot_product_attention: give either attn_mask or is_causal{here()}")
    if enable_gqa:
        key, value = (_for_each_head(x, query) for x in (key, value))
    n, m = query.shape[-2], key.shape[-2]
    factor = (
        1.0 / math.sqrt(query.shape[-1])
        if scale is None and query.shape[-1]
        else 1.0
        if scale is None
        else float(scale)
    )
    scores = array.matmul(query * factor, matrix_transpose(key))
    weights = attention_weights(scores, np.tri(n, m, dtype=bool) if is_causal else attn_mask)
    return array.matmul(dropout(weights, dropout_p, generator=generator), value)


def _for_each_head(x: Tensor, query: Tensor) -> Tensor:
    """The heads of key or value repeated for the queries that share them."""
    if x.ndim < 3 or query.ndim < 3 or not x.shape[-3] or query.shape[-3] % x.shape[-3]:
        raise ShapeError(
            f"scaled_dot_product_attention: the heads of {shown(query)} are no multiple of those of {shown(x)}{here()}"
        )
    *lead, heads, m, e = x.shape
    times = query.shape[-3] // heads
    spread = broadcast_to(reshape(x, shape=(*lead, heads, 1, m, e)), shape=(*lead, heads, times, m, e))
    return reshape(spread, shape=(*lead, heads * times, m, e))


def attention_weights(scores: Tensor, mask: Any) -> Tensor:
    """Softmax of scores along the last axis under a mask, 0 in rows in which nothing is seen."""
    if mask is None:
        return softmax(scores, -1) if scores.shape[-1] else scores
    mask = as_tensor(mask)
    try:
        np.broadcast_shapes(mask.shape, scores.shape)
    except ValueError:
        raise ShapeError(
            f"scaled_dot_product_attention: the mask {shown(mask)} does not broadcast to {list(scores.shape)}{here()}"
        ) from None
    if not scores.shape[-1]:
        return scores
    if mask.dtype == bool:
        anything = sum(astype(mask, dtype=np.intp), axis=mask.ndim - 1, keepdims=True) > 0
        # a row that sees nothing is computed of all, for a softmax of nothing is NaN, and then left out
        seen = softmax(ew.where(mask | ~anything, scores, -math.inf), -1)
        return ew.where(mask, seen, 0.0)
    if not is_float(mask.dtype):
        raise DTypeError(f"scaled_dot_product_attention: the mask is boolean or floats, got {shown(mask)}{here()}")
    scores = scores + (mask if mask.dtype == scores.dtype else astype(mask, dtype=scores.dtype))
    anything = reduce.max(scores.detach(), axis=-1, keepdims=True) != -math.inf
    return ew.where(anything, softmax(scores, -1), 0.0)  # NaN of a row without any, which is left out
