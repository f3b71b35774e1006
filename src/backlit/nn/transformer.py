"""Transformer layers and stacks of them (Vaswani et al., 2017), with PyTorch's names of parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit import functional as F
from backlit.core.dtypes import default_dtype
from backlit.core.errors import ArgumentError
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.nn import init
from backlit.nn.attention import MultiheadAttention
from backlit.nn.cache import KeyValueCache
from backlit.nn.container import ModuleList
from backlit.nn.dropout import Dropout
from backlit.nn.linear import Linear
from backlit.nn.module import Module
from backlit.nn.normalization import LayerNorm

Activation = str | Callable[[Tensor], Tensor]


def _function(activation: Activation) -> Callable[[Tensor], Tensor]:
    if not isinstance(activation, str):
        return activation
    if activation not in ("relu", "gelu"):
        raise ArgumentError(f"transformer: activation must be 'relu', 'gelu' or a function, got {activation!r}")
    return F.relu if activation == "relu" else F.gelu


def _one_each(cache: Sequence[Any] | None, layers: ModuleList) -> Sequence[Any]:
    """The cache of each layer, None where there is none."""
    if cache is None:
        return [None] * len(layers)
    if len(cache) != len(layers):
        raise ArgumentError(f"transformer: expected a cache for each of {len(layers)} layers, got {len(cache)}{here()}")
    return cache


class TransformerEncoderLayer(Module):
    """Attention of a sequence to itself, then two linear layers, each with a residual and a layer norm.

    Shapes:
      src: [steps, batch, d_model], [batch, steps, d_model] with `batch_first`, or [steps, d_model]; the result likewise.

    The norms come behind the residuals, before them with `norm_first`. `activation` is 'relu', 'gelu' or a function.
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1, activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True, *,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _function(activation)

    def forward(
        self, src: Tensor, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False, *,
        cache: KeyValueCache | None = None,
    ) -> Tensor:  # fmt: skip
        """The encoded `src`; masks and the cache are those of `MultiheadAttention`."""

        def attended(x: Tensor) -> Tensor:
            out, _ = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal, cache=cache)
            return self.dropout1(out)  # type: ignore[no-any-return]

        if self.norm_first:
            x = src + attended(self.norm1(src))
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(src + attended(src))
        return self.norm2(x + self._feed_forward(x))  # type: ignore[no-any-return]

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))  # type: ignore[no-any-return]


class TransformerDecoderLayer(Module):
    """Attention of a sequence to itself, then to `memory`, then two linear layers, each with a residual and a layer norm.

    Shapes and arguments are those of `TransformerEncoderLayer`; memory: [sources, batch, d_model].
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1, activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True, *,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = _function(activation)

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Any = None, memory_mask: Any = None, tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None, tgt_is_causal: bool = False, memory_is_causal: bool = False, *,
        cache: tuple[KeyValueCache, KeyValueCache] | None = None,
    ) -> Tensor:  # fmt: skip
        """The decoded `tgt`; masks are those of `MultiheadAttention`.

        A `cache` is one of what was decoded and a fixed one of the memory, which may then be None.
        """
        past, seen = cache or (None, None)

        def own(x: Tensor) -> Tensor:
            out, _ = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal, cache=past)
            return self.dropout1(out)  # type: ignore[no-any-return]

        def other(x: Tensor) -> Tensor:
            given = memory if seen is None else None
            out, _ = self.multihead_attn(
                x, given, given, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal, cache=seen
            )
            return self.dropout2(out)  # type: ignore[no-any-return]

        def ahead(x: Tensor) -> Tensor:
            return self.dropout3(self.linear2(self.dropout(self.activation(self.linear1(x)))))  # type: ignore[no-any-return]

        x: Any = tgt
        for norm, part in ((self.norm1, own), (self.norm2, other), (self.norm3, ahead)):
            x = x + part(norm(x)) if self.norm_first else norm(x + part(x))
        return x  # type: ignore[no-any-return]


class TransformerEncoder(Module):
    """`num_layers` copies of `encoder_layer` one after another, and `norm` behind them where it is given.

    The last two arguments do nothing, for there are no nested tensors.
    """

    def __init__(
        self, encoder_layer: Module, num_layers: int, norm: Module | None = None, enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.register_module("norm", norm)

    def make_cache(self, batch_size: int, capacity: int) -> list[KeyValueCache]:
        """An empty cache for each layer, for `batch_size` sequences of up to `capacity` steps."""
        return [layer.self_attn.make_cache(batch_size, capacity) for layer in self.layers]

    def forward(
        self, src: Tensor, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None, *,
        cache: Sequence[KeyValueCache] | None = None,
    ) -> Tensor:  # fmt: skip
        """The encoded `src`; with a `cache`, what `make_cache` gave, the next steps of a sequence that is looked at causally."""
        caches = _one_each(cache, self.layers)
        for layer, own in zip(self.layers, caches, strict=True):
            src = layer(src, mask, src_key_padding_mask, bool(is_causal), **({} if own is None else {"cache": own}))
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """`num_layers` copies of `decoder_layer` one after another, and `norm` behind them where it is given."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = ModuleList(copy.deepcopy(decoder_layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.register_module("norm", norm)

    def make_cache(
        self, memory: Tensor, capacity: int
    ) -> list[tuple[KeyValueCache, KeyValueCache]]:  # fmt: skip
        """For each layer an empty cache for up to `capacity` steps, and a fixed one of `memory`, projected once for all calls."""
        first = self.layers[0].self_attn
        n = memory.shape[0 if first.batch_first else 1] if memory.ndim == 3 else 1
        return [
            (layer.self_attn.make_cache(n, capacity), layer.multihead_attn.remember(memory, memory))
            for layer in self.layers
        ]

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Any = None, memory_mask: Any = None, tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None, tgt_is_causal: bool | None = None, memory_is_causal: bool = False, *,
        cache: Sequence[tuple[KeyValueCache, KeyValueCache]] | None = None,
    ) -> Tensor:  # fmt: skip
        """The decoded `tgt`; with a `cache`, what `make_cache` gave, the next steps of what is decoded (`memory` may be None)."""
        for layer, own in zip(self.layers, _one_each(cache, self.layers), strict=True):
            tgt = layer(
                tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, bool(tgt_is_causal),
                memory_is_causal, **({} if own is None else {"cache": own}),
            )  # fmt: skip
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder of `src`, and a decoder of `tgt` that looks at what it gives; matrices start by Glorot's uniform rule.

    Shapes:
      src: [sources, batch, d_model]; tgt: [targets, batch, d_model]; the batch comes first with `batch_first`.
    """

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
        dim_feedforward: int = 2048, dropout: float = 0.1, activation: Activation = F.relu, custom_encoder: Any = None,
        custom_decoder: Any = None, layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
        bias: bool = True, *, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        kind: Any = (
            d_model,
            nhead,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            batch_first,
            norm_first,
            bias,
        )
        norms = [LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype) for _ in range(2)]
        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*kind, dtype=dtype), num_encoder_layers, norms[0]
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*kind, dtype=dtype), num_decoder_layers, norms[1]
        )
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def forward(
        self, src: Tensor, tgt: Tensor, src_mask: Any = None, tgt_mask: Any = None, memory_mask: Any = None,
        src_key_padding_mask: Any = None, tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None, tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """The decoded `tgt`; masks are those of `MultiheadAttention`."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(  # type: ignore[no-any-return]
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, *, dtype: Any = None) -> Tensor:
        """[sz, sz] with 0 where a target may look, at sources up to its own place, and -infinity elsewhere."""
        return Tensor(
            np.where(np.triu(np.ones((sz, sz), bool), 1), -np.inf, 0.0).astype(
                default_dtype() if dtype is None else dtype
            )
        )
