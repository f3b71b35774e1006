"""Which layers are held against PyTorch's, with which arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from reference_run import Case, Draw, Of, classes, fixed, given, layer, normal, numbered, uniform

RUNNING = ("train", "train", "eval")
CAUSAL = given(np.triu(np.ones((4, 4), bool), 1))
X = normal(2, 4, 3, 2)  # crosses every kink of the activations several times
WIDE = Draw(lambda rng: 3 * rng.standard_normal((2, 4, 3, 2)))


def image(n: int, channels: int = 4, batch: int = 2) -> Draw:
    return normal(batch, channels, *(9, 7, 5)[:n]) if n < 3 else normal(batch, channels, 5, 4, 3)


ACTIVATIONS = [
    layer(name, *args, of=WIDE, **options)
    for name, args, options in (
        ("Threshold", (0.1, 20.0), {}), ("ReLU", (), {}), ("Hardtanh", (), {}), ("Hardtanh", (-0.5, 2.0), {}),
        ("ReLU6", (), {}), ("Sigmoid", (), {}), ("Hardsigmoid", (), {}), ("Tanh", (), {}), ("SiLU", (), {}), ("Mish", (), {}),
        ("Hardswish", (), {}), ("ELU", (), {}), ("ELU", (0.5,), {}), ("CELU", (), {}), ("CELU", (2.0,), {}), ("SELU", (), {}),
        ("GLU", (), {}), ("GLU", (1,), {}), ("GELU", (), {}), ("GELU", ("tanh",), {}), ("Hardshrink", (), {}),
        ("Hardshrink", (1.5,), {}), ("LeakyReLU", (), {}), ("LeakyReLU", (0.2,), {}), ("LogSigmoid", (), {}),
        ("Softplus", (), {}), ("Softplus", (2.0, 1.0), {}), ("Softshrink", (), {}), ("Softshrink", (1.5,), {}),
        ("PReLU", (), {}), ("PReLU", (4, 0.1), {}), ("Softsign", (), {}), ("Tanhshrink", (), {}), ("Softmin", (1,), {}),
        ("Softmax", (1,), {}), ("Softmax", (-1,), {}), ("Softmax2d", (), {}), ("LogSoftmax", (-1,), {}), ("LogSoftmax", (0,), {}),
    )
] + [
    # between equal bounds nothing is random
    layer("RReLU", 0.25, 0.25, of=WIDE), layer("RReLU", of=WIDE, modes=["eval"]), layer("RReLU", 0.1, 0.2, of=WIDE, modes=["eval"]),
]  # fmt: skip

LINEAR = [
    layer("Linear", 3, 4, of=normal(5, 3)), layer("Linear", 3, 4, bias=False, of=normal(2, 5, 3)), layer("Linear", 3, 4, of=normal(3)),
    layer("Bilinear", 3, 2, 4, of=(normal(5, 3), normal(5, 2))),
    layer("Bilinear", 3, 2, 4, bias=False, of=(normal(2, 5, 3), normal(2, 5, 2))),
    layer("Embedding", 6, 3, of=classes(6, 2, 4)),
    layer("Embedding", 6, 3, padding_idx=-2, scale_grad_by_freq=True, of=given([[0, 3, 3, 4], [4, 1, 0, 4]])),
    layer("Embedding", 6, 3, max_norm=0.5, norm_type=1.0, of=classes(6, 2, 4)),
    layer("Embedding", 6, 3, max_norm=0.8, of=classes(6, 5)),
    *(layer("EmbeddingBag", 6, 3, mode=mode, of=(classes(6, 7), given([0, 2, 2, 5]))) for mode in ("mean", "sum", "max")),
    layer("EmbeddingBag", 6, 3, of=classes(6, 2, 4)), layer("EmbeddingBag", 6, 3, mode="sum", of=(classes(6, 5), given([0, 3]), normal(5))),
    layer("EmbeddingBag", 6, 3, padding_idx=1, of=given([[0, 1, 3], [1, 1, 4]])), 
    # each number twice: where they are not equally often PyTorch divides by the count of another
    layer("EmbeddingBag", 6, 3, scale_grad_by_freq=True, of=given([[0, 1, 3], [3, 0, 1]])),
    layer("EmbeddingBag", 6, 3, include_last_offset=True, mode="sum", of=(classes(6, 5), given([0, 3, 5]))),
    layer("EmbeddingBag", 6, 3, max_norm=0.5, of=classes(6, 2, 3)),
    layer("Identity", of=X), layer("Flatten", of=X), layer("Flatten", 0, 1, of=X), layer("Flatten", 1, -2, of=X),
    layer("Unflatten", 1, (2, 2), of=X), layer("Unflatten", -1, (2, -1), of=X),
]  # fmt: skip

DROPOUT = [
    layer(name, p, of=normal(2, 3, *(4, 3, 2)[:n]), modes=modes)
    for name, n in (
        ("Dropout", 1), ("Dropout1d", 1), ("Dropout2d", 2), ("Dropout3d", 3), ("AlphaDropout", 1), ("FeatureAlphaDropout", 2)
    )
    for p, modes in ((0.4, ["eval"]), (0.0, ["train"]), (1.0, ["train"]))
    if p != 1.0 or "Alpha" not in name  # PyTorch's gives NaN where all is dropped
]  # fmt: skip

CONVOLUTION = [
    *(layer(f"Conv{n}d", 4, 6, 3, of=image(n)) for n in (1, 2, 3)),
    layer("Conv1d", 4, 6, 3, 2, 1, 2, 2, False, of=image(1)), layer("Conv1d", 4, 4, 4, padding="valid", of=image(1)),
    layer("Conv1d", 4, 8, 3, groups=4, padding=2, of=image(1)), layer("Conv1d", 4, 6, 3, of=normal(4, 9)),
    layer("Conv2d", 4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=2, of=image(2)),
    layer("Conv2d", 4, 4, 3, padding="same", groups=4, of=image(2)), layer("Conv2d", 4, 6, 1, bias=False, of=image(2)),
    layer("Conv2d", 4, 6, 3, stride=2, padding=1, groups=2, of=image(2)), layer("Conv2d", 4, 6, 3, of=normal(4, 9, 7)),
    layer("Conv2d", 4, 2, 3, padding=1, padding_mode="reflect", of=image(2)),
    layer("Conv2d", 4, 2, (2, 3), padding="same", padding_mode="circular", dilation=(2, 1), of=image(2)),
    layer("Conv3d", 4, 2, 2, padding=(1, 0, 1), padding_mode="replicate", of=image(3)),
    layer("Conv3d", 4, 2, (1, 2, 3), stride=(1, 2, 1), groups=2, bias=False, of=image(3)),
    layer("ConvTranspose1d", 4, 6, 3, of=image(1)), layer("ConvTranspose2d", 4, 2, 3, of=normal(2, 4, 4, 3)),
    layer("ConvTranspose3d", 4, 2, 2, of=normal(1, 4, 3, 2, 2)),
    layer("ConvTranspose1d", 4, 6, 3, 2, 1, 1, 2, False, 2, of=image(1)),
    layer("ConvTranspose2d", 4, 2, (3, 2), stride=2, padding=(1, 0), output_padding=(1, 0), of=normal(2, 4, 4, 3)),
    layer("ConvTranspose2d", 4, 3, 3, stride=2, padding=1, of=normal(2, 4, 4, 3), call={"output_size": [8, 5]}),
    layer("ConvTranspose3d", 4, 2, 2, stride=(1, 2, 1), groups=2, bias=False, of=normal(1, 4, 3, 2, 2)),
]  # fmt: skip

POOLING = [
    *(layer(f"MaxPool{n}d", 2, of=image(n)) for n in (1, 2, 3)), layer("MaxPool2d", (3, 2), 1, 1, dilation=(1, 2), of=image(2)),
    layer("MaxPool2d", 2, ceil_mode=True, of=image(2)), layer("MaxPool2d", 2, return_indices=True, of=image(2)),
    layer("MaxPool1d", 3, 1, 1, of=normal(4, 9)),
    *(layer(f"AvgPool{n}d", 2, of=image(n)) for n in (1, 2, 3)), layer("AvgPool2d", 3, 2, 1, count_include_pad=False, of=image(2)),
    layer("AvgPool2d", (3, 2), divisor_override=5, of=image(2)), layer("AvgPool1d", 3, 2, 1, True, False, of=image(1)),
    *(layer(f"LPPool{n}d", 2, 2, of=uniform(2, 3, *(7, 5, 4)[:n])) for n in (1, 2, 3)),
    layer("LPPool2d", 1.5, (3, 2), stride=1, ceil_mode=True, of=uniform(2, 3, 7, 5)),
    *(layer(f"AdaptiveAvgPool{n}d", 3, of=image(n)) for n in (1, 2, 3)), layer("AdaptiveAvgPool2d", (None, 2), of=image(2)),
    *(layer(f"AdaptiveMaxPool{n}d", 3, of=image(n)) for n in (1, 2, 3)),
    layer("AdaptiveMaxPool2d", (4, 2), return_indices=True, of=image(2)),
    layer("MaxUnpool1d", 2, of=(normal(1, 2, 3), given([[[0, 3, 4], [1, 2, 5]]]))), layer("MaxUnpool2d", 2, of=(normal(1, 1, 2, 2), given([[[[0, 3], [9, 14]]]]))),
    layer("MaxUnpool2d", 2, of=(normal(1, 1, 2, 2), given([[[[0, 3], [9, 14]]]])), call={"output_size": [5, 4]}),
    layer("MaxUnpool3d", 2, of=(normal(1, 1, 1, 2, 1), given([[[[[3], [10]]]]]))), layer("MaxUnpool1d", 3, 2, 1, of=(normal(2, 3), given([[0, 2, 4], [1, 3, 4]]))),
    layer("FractionalMaxPool2d", 2, output_size=(3, 2), _random_samples=uniform(2, 4, 2), of=image(2)),
    layer("FractionalMaxPool2d", (3, 2), output_ratio=(0.5, 0.6), return_indices=True, _random_samples=uniform(2, 4, 2), of=image(2)),
    layer("FractionalMaxPool3d", 2, output_size=(3, 2, 2), _random_samples=uniform(1, 2, 3), of=normal(1, 2, 5, 4, 4)),
]  # fmt: skip

SHAPES = [
    layer("Upsample", scale_factor=2, of=normal(1, 2, 4, 3)), layer("Upsample", (5, 11), mode="bilinear", align_corners=False, of=normal(1, 2, 4, 3)),
    layer("Upsample", 7, mode="linear", of=normal(1, 2, 4)), layer("Upsample", (5, 8), mode="bicubic", of=normal(1, 2, 4, 3)),
    layer("Upsample", (5, 4, 3), mode="trilinear", align_corners=True, of=normal(1, 2, 3, 2, 2)),
    layer("UpsamplingNearest2d", scale_factor=2, of=normal(1, 2, 4, 3)), layer("UpsamplingBilinear2d", (5, 11), of=normal(1, 2, 4, 3)),
    layer("PixelShuffle", 2, of=normal(2, 8, 3, 2)), layer("PixelUnshuffle", 2, of=normal(2, 3, 4, 6)),
    layer("ChannelShuffle", 2, of=image(2)), layer("Unfold", (3, 2), padding=1, stride=2, of=normal(2, 3, 5, 4)),
    layer("Unfold", 2, dilation=2, of=normal(2, 3, 5, 4)), layer("Fold", (4, 5), (2, 2), of=normal(2, 12, 12)),
    layer("Fold", (4, 5), 3, padding=1, stride=2, of=normal(2, 18, 6)),
    *(layer(f"ZeroPad{n}d", 2, of=normal(1, 2, *(4, 3, 3)[:n])) for n in (1, 2, 3)), layer("ZeroPad2d", (1, -1, 0, 2), of=normal(2, 3, 4, 3)),
    *(layer(f"ConstantPad{n}d", 1, 3.5, of=normal(1, 2, *(4, 3, 3)[:n])) for n in (1, 2, 3)),
    *(layer(f"{k}Pad{n}d", 2, of=normal(1, 2, *(4, 3, 3)[:n])) for k in ("Reflection", "Replication", "Circular") for n in (1, 2, 3)),
    layer("ReflectionPad2d", (1, 0, 2, 3), of=normal(1, 2, 4, 3)), layer("CircularPad2d", (1, 0, 2, 3), of=normal(1, 2, 4, 3)),
]  # fmt: skip

NORMALIZATION = [
    layer("BatchNorm1d", 3, of=normal(4, 3), modes=RUNNING), layer("BatchNorm1d", 3, momentum=0.3, eps=1e-3, of=normal(4, 3, 5), modes=RUNNING),
    layer("BatchNorm2d", 3, of=normal(4, 3, 2, 2), modes=RUNNING), layer("BatchNorm2d", 3, affine=False, of=normal(4, 3, 2, 2), modes=RUNNING),
    layer("BatchNorm2d", 3, track_running_stats=False, of=normal(4, 3, 2, 2), modes=RUNNING),
    layer("BatchNorm2d", 3, momentum=None, of=normal(4, 3, 2, 2), modes=RUNNING), layer("BatchNorm2d", 3, bias=False, of=normal(4, 3, 2, 2), modes=RUNNING),
    layer("BatchNorm3d", 3, of=normal(2, 3, 2, 2, 2), modes=RUNNING), layer("InstanceNorm1d", 3, of=normal(4, 3, 5)),
    layer("InstanceNorm1d", 3, of=normal(3, 5)), layer("InstanceNorm1d", 3, momentum=None, track_running_stats=True, of=normal(4, 3, 5), modes=RUNNING),
    layer("InstanceNorm2d", 3, affine=True, track_running_stats=True, of=normal(4, 3, 2, 2), modes=RUNNING),
    layer("InstanceNorm2d", 3, eps=1e-2, of=normal(4, 3, 2, 2)), layer("InstanceNorm3d", 3, affine=True, bias=False, of=normal(2, 3, 2, 2, 2)),
    layer("LayerNorm", 6, of=normal(4, 6)), layer("LayerNorm", (3, 5), eps=1e-3, bias=False, of=normal(4, 3, 5)),
    layer("LayerNorm", 5, elementwise_affine=False, of=normal(4, 3, 5)), layer("GroupNorm", 3, 6, of=normal(2, 6, 4)),
    layer("GroupNorm", 2, 6, affine=False, eps=1e-3, of=normal(2, 6)), layer("GroupNorm", 2, 6, bias=False, of=normal(2, 6, 3, 2)),
    layer("RMSNorm", 6, of=normal(4, 6)), layer("RMSNorm", (3, 5), eps=1e-3, of=normal(4, 3, 5)), layer("RMSNorm", 6, elementwise_affine=False, of=normal(4, 6)),
    layer("LocalResponseNorm", 3, alpha=0.1, of=normal(2, 5, 4)), layer("LocalResponseNorm", 2, 0.5, 0.6, 2.0, of=normal(2, 5, 3, 2)),
]  # fmt: skip


def state(name: str, layers: int, batch: tuple[int, ...], size: int = 4, out: int = 4) -> tuple:
    """The first state of a recurrent layer."""
    hidden = normal(layers, *batch, out)
    return (hidden, normal(layers, *batch, size)) if name == "LSTM" else hidden


LENGTHS = given([3, 5, 1])
RECURRENT = [
    *(layer(n, 3, 4, of=normal(5, 2, 3)) for n in ("RNN", "GRU", "LSTM")), *(layer(n, 3, 4, of=(normal(5, 3), state(n, 1, ()))) for n in ("RNN", "GRU", "LSTM")),
    *(layer(n, 3, 4, num_layers=2, bidirectional=True, of=(normal(5, 2, 3), state(n, 4, (2,)))) for n in ("RNN", "GRU", "LSTM")),
    *(layer(n, 3, 4, bias=False, batch_first=True, of=(normal(2, 5, 3), state(n, 1, (2,)))) for n in ("RNN", "GRU", "LSTM")),
    layer("RNN", 3, 4, num_layers=2, nonlinearity="relu", of=normal(5, 2, 3)), layer("GRU", 3, 4, num_layers=3, of=normal(4, 2, 3)),
    layer("LSTM", 3, 4, num_layers=2, proj_size=2, of=(normal(5, 2, 3), state("LSTM", 2, (2,), 4, 2))),
    layer("LSTM", 3, 4, num_layers=2, proj_size=2, bidirectional=True, bias=False, of=normal(5, 2, 3)),
    *(layer(n, 3, 4, num_layers=2, bidirectional=True, of=normal(5, 3, 3), call={"lengths": LENGTHS}) for n in ("RNN", "GRU", "LSTM")),
    *(layer(n, 3, 4, batch_first=True, of=normal(3, 5, 3), call={"lengths": LENGTHS}) for n in ("RNN", "GRU", "LSTM")),
    layer("LSTM", 3, 4, num_layers=2, dropout=0.5, of=normal(5, 2, 3), modes=["eval"]),
    *(layer(n, 3, 4, bias, of=(normal(2, 3), normal(2, 4))) for n in ("RNNCell", "GRUCell") for bias in (True, False)),
    layer("RNNCell", 3, 4, nonlinearity="relu", of=normal(2, 3)), layer("GRUCell", 3, 4, of=(normal(3), normal(4))),
    *(layer("LSTMCell", 3, 4, bias, of=(normal(2, 3), (normal(2, 4), normal(2, 4)))) for bias in (True, False)), layer("LSTMCell", 3, 4, of=normal(3)),
]  # fmt: skip

PADDING = given([[False] * 3 + [True] * 2, [False] * 5, [False] * 4 + [True]])
ADDED = given(
    np.where([[False] * 3 + [True] * 2, [False] * 5, [False] * 4 + [True]], -math.inf, 0.0).astype(np.float32)
)
TRIPLE = (normal(4, 3, 8), normal(5, 3, 8), normal(5, 3, 8))
SECOND = given(np.triu(np.ones((4, 5), bool), 2))
PARTS = (normal(4, 3, 8), normal(5, 3, 5), normal(5, 3, 3))
FIRST = (normal(3, 4, 8), normal(3, 5, 8), normal(3, 5, 8))
heads = fixed(normal(6, 4, 5))
ATTENTION = [
    layer("MultiheadAttention", 8, 2, of=TRIPLE), layer("MultiheadAttention", 8, 2, of=TRIPLE, call={"key_padding_mask": PADDING}),
    layer("MultiheadAttention", 8, 2, of=TRIPLE, call={"attn_mask": SECOND}), layer("MultiheadAttention", 8, 2, of=TRIPLE, call={"attn_mask": fixed(normal(4, 5))}),
    layer("MultiheadAttention", 8, 2, of=TRIPLE, call={"attn_mask": SECOND, "key_padding_mask": PADDING}),
    layer("MultiheadAttention", 8, 2, of=TRIPLE, call={"attn_mask": heads, "key_padding_mask": ADDED}),
    layer("MultiheadAttention", 8, 2, of=TRIPLE, call={"need_weights": False}), layer("MultiheadAttention", 8, 4, of=TRIPLE, call={"average_attn_weights": False}),
    layer("MultiheadAttention", 8, 2, bias=False, batch_first=True, of=FIRST, call={"attn_mask": SECOND, "key_padding_mask": PADDING}),
    layer("MultiheadAttention", 8, 2, kdim=5, vdim=3, of=PARTS, call={"key_padding_mask": PADDING}),
    layer("MultiheadAttention", 8, 2, add_bias_kv=True, of=TRIPLE, call={"attn_mask": SECOND}),
    layer("MultiheadAttention", 8, 2, add_zero_attn=True, add_bias_kv=True, of=TRIPLE, call={"key_padding_mask": PADDING}),
    layer("MultiheadAttention", 8, 2, of=(normal(4, 8), normal(5, 8), normal(5, 8))),
    layer("MultiheadAttention", 8, 2, dropout=0.3, of=TRIPLE, modes=["eval"]),
]  # fmt: skip

MEMORY = given([[False] * 3 + [True], [False] * 4, [False] * 4])
SOURCE = normal(4, 3, 8)
BATCHED = normal(3, 4, 8)
ENCODER, DECODER = "TransformerEncoderLayer", "TransformerDecoderLayer"
TRANSFORMER = [
    layer(ENCODER, 8, 2, 16, 0.0, of=SOURCE, call={"src_mask": CAUSAL, "src_key_padding_mask": MEMORY}),
    layer(ENCODER, 8, 2, 16, 0.0, "gelu", norm_first=True, of=SOURCE), layer(ENCODER, 8, 2, 16, 0.0, batch_first=True, bias=False, of=BATCHED, call={"src_mask": CAUSAL}),
    layer(ENCODER, 8, 2, 16, 0.3, layer_norm_eps=1e-3, batch_first=True, of=BATCHED, modes=["eval"]),
    layer(DECODER, 8, 2, 16, 0.0, of=(SOURCE, normal(4, 3, 8)), call={"tgt_mask": CAUSAL, "memory_key_padding_mask": MEMORY}),
    layer(DECODER, 8, 2, 16, 0.0, "gelu", norm_first=True, batch_first=True, of=(BATCHED, normal(3, 5, 8)), call={"memory_mask": SECOND, "tgt_key_padding_mask": MEMORY}),
    layer(DECODER, 8, 2, 16, 0.3, bias=False, of=(SOURCE, normal(4, 3, 8)), modes=["eval"]),
    layer("TransformerEncoder", Of(ENCODER, (8, 2, 8, 0.0)), 2, Of("LayerNorm", (8,)), of=SOURCE, call={"mask": CAUSAL}),
    layer("TransformerDecoder", Of(DECODER, (8, 2, 8, 0.0)), 2, of=(SOURCE, normal(4, 3, 8)), call={"tgt_mask": CAUSAL}),
    layer("Transformer", 8, 2, 1, 1, 8, 0.0, of=(SOURCE, normal(4, 3, 8)), call={"tgt_mask": CAUSAL, "src_key_padding_mask": MEMORY, "memory_key_padding_mask": MEMORY}),
]  # fmt: skip

CONTAINERS = [
    layer("Sequential", Of("Linear", (3, 4)), Of("ReLU"), Of("Sequential", (Of("LayerNorm", (4,)), Of("Linear", (4, 2)))), of=normal(5, 3)),
    layer("Sequential", Of("Conv2d", (3, 4, 3)), Of("BatchNorm2d", (4,)), Of("ReLU"), Of("Flatten"), Of("Linear", (24, 2)), of=normal(3, 3, 4, 5), modes=RUNNING),
]  # fmt: skip

# by the name of their file
FAMILIES: dict[str, dict[str, Case]] = {
    "activations": numbered(ACTIVATIONS), "linear": numbered(LINEAR + DROPOUT + CONTAINERS), "convolutions": numbered(CONVOLUTION),
    "pooling": numbered(POOLING), "shapes": numbered(SHAPES), "norms": numbered(NORMALIZATION), "recurrent": numbered(RECURRENT),
    "attention": numbered(ATTENTION + TRANSFORMER),
}  # fmt: skip
LAYERS = {name: case for cases in FAMILIES.values() for name, case in cases.items()}
FILE_OF = {name: family for family, cases in FAMILIES.items() for name in cases}

# what has no forward of its own is held against PyTorch's by the names and shapes of its state; `matrix` makes a parameter
HOLDERS: dict[str, Callable[[Any, Callable[..., Any]], Any]] = {
    "ModuleList": lambda nn, matrix: nn.ModuleList([nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1, bias=False)]),
    "ModuleDict": lambda nn, matrix: nn.ModuleDict({"first": nn.Linear(2, 3), "norm": nn.BatchNorm1d(3)}),
    "ParameterList": lambda nn, matrix: nn.ParameterList([matrix(2, 3), matrix(4)]),
    "ParameterDict": lambda nn, matrix: nn.ParameterDict({"second": matrix(2, 3), "first": matrix(4)}),
}
WITHOUT_A_CASE = {"Module", "Parameter", "Buffer"}
