"""Which functions of `nn.functional` are held against PyTorch's; those that are modules too are called as both."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
from reference_run import Case, Draw, classes, fixed, given, logs, normal, numbered, shares, signs, uniform

REDUCTIONS = ("mean", "sum", "none")
MULTILABELS = given([[3, 0, -1, 1], [-1, 2, 2, 2], [0, 1, 2, 3]])
PAIR = (normal(4, 3), normal(4, 3))
WEIGHT = fixed(uniform(4))
MODULES = {
    "l1_loss": "L1Loss", "mse_loss": "MSELoss", "smooth_l1_loss": "SmoothL1Loss", "huber_loss": "HuberLoss", "cross_entropy": "CrossEntropyLoss",
    "nll_loss": "NLLLoss", "binary_cross_entropy": "BCELoss", "binary_cross_entropy_with_logits": "BCEWithLogitsLoss", "kl_div": "KLDivLoss",
    "poisson_nll_loss": "PoissonNLLLoss", "gaussian_nll_loss": "GaussianNLLLoss", "hinge_embedding_loss": "HingeEmbeddingLoss",
    "margin_ranking_loss": "MarginRankingLoss", "soft_margin_loss": "SoftMarginLoss", "multi_margin_loss": "MultiMarginLoss",
    "multilabel_margin_loss": "MultiLabelMarginLoss", "multilabel_soft_margin_loss": "MultiLabelSoftMarginLoss",
    "cosine_embedding_loss": "CosineEmbeddingLoss", "triplet_margin_loss": "TripletMarginLoss",
    "triplet_margin_with_distance_loss": "TripletMarginWithDistanceLoss", "ctc_loss": "CTCLoss", "cosine_similarity": "CosineSimilarity",
    "pairwise_distance": "PairwiseDistance",
}  # fmt: skip


def binary(*shape: int) -> Draw:
    return Draw(lambda rng: rng.integers(0, 2, shape).astype(float), trained=False)


def function(name: str, *inputs: object, first: str | None = None, **options: object) -> Case:
    return Case(name, inputs=inputs, options=options, first=first)


FRAMES, N_TARGETS = given([9, 7, 8]), given([4, 2, 0])
TARGETS = given([[2, 2, 4, 1], [3, 1, 1, 1], [1, 1, 1, 1]])
LOSSES = [
    function(name, *inputs, **options, reduction=reduction)
    for name, inputs, options in (
        ("mse_loss", PAIR, {}), ("mse_loss", (normal(), normal()), {}), ("l1_loss", PAIR, {}), ("smooth_l1_loss", PAIR, {}),
        ("smooth_l1_loss", PAIR, {"beta": 0.3}), ("smooth_l1_loss", PAIR, {"beta": 0.0}), ("huber_loss", PAIR, {}),
        ("huber_loss", PAIR, {"delta": 0.4}), ("mse_loss", PAIR, {"weight": fixed(uniform(4, 3))}), ("l1_loss", PAIR, {"weight": fixed(uniform(4, 3))}),
        ("huber_loss", PAIR, {"delta": 0.4, "weight": fixed(uniform(4, 3))}),
        ("cross_entropy", (normal(5, 4), classes(4, 5)), {}), ("cross_entropy", (normal(4), classes(4)), {}),
        ("cross_entropy", (normal(6, 4), classes(4, 6, ignored=-100)), {"weight": WEIGHT}),
        ("cross_entropy", (normal(6, 4), classes(4, 6, ignored=-100)), {"label_smoothing": 0.2}),
        ("cross_entropy", (normal(6, 4), classes(4, 6, ignored=-100)), {"weight": WEIGHT, "label_smoothing": 0.2}),
        ("cross_entropy", (normal(6, 4), classes(4, 6)), {"weight": given([0.0, 1.0, 0.5, 2.0]), "label_smoothing": 0.3}),
        ("cross_entropy", (normal(3, 4, 2), classes(4, 3, 2)), {"weight": WEIGHT, "ignore_index": 1}),
        ("cross_entropy", (normal(3, 4, 2, 3), classes(4, 3, 2, 3, ignored=-100)), {}), ("cross_entropy", (normal(5, 4), shares(5, 4)), {}),
        ("cross_entropy", (normal(5, 4), shares(5, 4)), {"weight": WEIGHT, "label_smoothing": 0.1}),
        ("cross_entropy", (normal(3, 4, 2), shares(3, 4, 2, axis=1)), {"weight": WEIGHT}), ("cross_entropy", (normal(4), shares(4)), {}),
        ("nll_loss", (logs(shares(5, 4)), classes(4, 5)), {}), ("nll_loss", (logs(shares(4)), classes(4)), {}),
        ("nll_loss", (logs(shares(6, 4)), classes(4, 6, ignored=-100)), {"weight": WEIGHT}),
        ("nll_loss", (normal(3, 4, 2), classes(4, 3, 2, ignored=-100)), {"weight": WEIGHT}), ("nll_loss", (normal(3, 4, 2, 2), classes(4, 3, 2, 2)), {"ignore_index": 2}),
        ("binary_cross_entropy", (uniform(4, 3), uniform(4, 3)), {}), ("binary_cross_entropy", (uniform(4, 3), fixed(uniform(4, 3))), {"weight": fixed(uniform(3))}),
        ("binary_cross_entropy_with_logits", (normal(4, 3), uniform(4, 3)), {}),
        ("binary_cross_entropy_with_logits", (normal(4, 3), uniform(4, 3)), {"weight": fixed(uniform(4, 1)), "pos_weight": fixed(uniform(3, high=4.0))}),
        ("kl_div", (logs(shares(4, 3)), shares(4, 3)), {}), ("kl_div", (logs(shares(4, 3)), logs(shares(4, 3))), {"log_target": True}),
        ("poisson_nll_loss", (normal(4, 3), uniform(4, 3, high=5.0)), {}), ("poisson_nll_loss", (normal(4, 3), uniform(4, 3, high=5.0)), {"full": True}),
        ("poisson_nll_loss", (uniform(4, 3), uniform(4, 3, high=5.0)), {"log_input": False, "eps": 1e-6}),
        ("gaussian_nll_loss", (normal(4, 3), normal(4, 3), uniform(4, 3)), {}), ("gaussian_nll_loss", (normal(4, 3), normal(4, 3), uniform(4, 3)), {"eps": 0.5, "full": True}),
        ("gaussian_nll_loss", (normal(4, 3), normal(4, 3), uniform(4, 1)), {}), ("gaussian_nll_loss", (normal(4, 3), normal(4, 3), uniform(4)), {}),
        ("hinge_embedding_loss", (uniform(4, 3, high=2.0), signs(4, 3)), {}), ("hinge_embedding_loss", (uniform(4, 3, high=2.0), signs(4, 3)), {"margin": 0.5}),
        ("margin_ranking_loss", (normal(5), normal(5), signs(5)), {}), ("margin_ranking_loss", (*PAIR, signs(4, 3)), {"margin": 0.7}),
        ("soft_margin_loss", (normal(4, 3), signs(4, 3)), {}), ("multi_margin_loss", (normal(5, 4), classes(4, 5)), {}),
        ("multi_margin_loss", (normal(5, 4), classes(4, 5)), {"p": 2, "margin": 0.5, "weight": WEIGHT}), ("multi_margin_loss", (normal(4), classes(4)), {}),
        ("multilabel_margin_loss", (normal(3, 4), MULTILABELS), {}), ("multilabel_margin_loss", (normal(4), given([3, 0, -1, 1])), {}),
        ("multilabel_soft_margin_loss", (normal(4, 3), binary(4, 3)), {}), ("multilabel_soft_margin_loss", (normal(4, 3), uniform(4, 3)), {"weight": fixed(uniform(3))}),
        ("cosine_embedding_loss", (normal(5, 3), normal(5, 3), signs(5)), {}), ("cosine_embedding_loss", (normal(5, 3), normal(5, 3), signs(5)), {"margin": 0.3}),
        ("cosine_embedding_loss", (normal(3), normal(3), given(-1.0)), {}),
        ("triplet_margin_loss", (normal(5, 3), normal(5, 3), normal(5, 3)), {}), ("triplet_margin_loss", (normal(5, 3),) * 3, {"swap": True, "p": 1.0, "margin": 2.0}),
        ("triplet_margin_with_distance_loss", (normal(5, 3),) * 3, {"swap": True}), ("triplet_margin_with_distance_loss", (normal(5, 3),) * 3, {"margin": 0.5}),
    )
    for reduction in (REDUCTIONS if name != "kl_div" else (*REDUCTIONS, "batchmean"))
] + [
    # PyTorch's gradient is that of the logits, so they stand before
    function("ctc_loss", normal(9, 3, 5), TARGETS, FRAMES, N_TARGETS, **options, reduction=reduction, first="log_softmax")
    for options in ({}, {"zero_infinity": True})
    for reduction in REDUCTIONS
] + [
    function("ctc_loss", normal(9, 3, 5), given([2, 2, 4, 1, 0, 1]), FRAMES, N_TARGETS, blank=3, first="log_softmax"),
    function("ctc_loss", normal(6, 5), given([2, 3, 3]), given(6), given(3), first="log_softmax"),
    function("ctc_loss", normal(4, 2, 5), given([[2, 2, 2], [1, 2, 3]]), given([4, 4]), given([3, 3]), zero_infinity=True, first="log_softmax"),
]  # fmt: skip

DISTANCES = [
    function("pairwise_distance", normal(5, 3), normal(5, 3)), function("pairwise_distance", normal(5, 3), normal(3), p=1.0, keepdim=True),
    function("pairwise_distance", normal(5, 3), normal(5, 3), p=3.5, eps=0.1), function("pairwise_distance", normal(5, 3), normal(5, 3), p=math.inf),
    function("cosine_similarity", normal(5, 3), normal(5, 3)), function("cosine_similarity", normal(5, 3, 2), normal(3, 2), dim=-1),
    function("normalize", normal(5, 3)), function("normalize", normal(5, 3, 2), p=1.0, dim=0), function("normalize", normal(5, 3), p=3.0, dim=-1, eps=5.0),
    function("pdist", normal(5, 3)), function("pdist", normal(5, 3), p=1.5),
]  # fmt: skip

KINKS = [0.0, -0.0, -3.0, 3.0, 6.0, 1.0, -1.0, 0.5, -0.5, 2.0, 1.5]
POINTS = Draw(lambda rng: np.concatenate([KINKS, np.linspace(-9, 9, 61), [30.0, -30.0, 1e-8, -1e-8, 1e3, -1e3]]))
# compared element by element, for the numbers are of all sizes
ACTIVATIONS = numbered([
    function(name, POINTS, **options)
    for name, options in (
        ("relu", {}), ("leaky_relu", {}), ("leaky_relu", {"negative_slope": -0.3}), ("elu", {}), ("elu", {"alpha": 0.7}), ("selu", {}),
        ("celu", {}), ("celu", {"alpha": 0.5}), ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("silu", {}), ("mish", {}),
        ("sigmoid", {}), ("tanh", {}), ("hardtanh", {}), ("hardtanh", {"min_val": -0.5, "max_val": 2.0}), ("hardsigmoid", {}),
        ("hardswish", {}), ("softplus", {}), ("softplus", {"beta": 2.0, "threshold": 3.0}), ("softsign", {}), ("logsigmoid", {}),
        ("relu6", {}), ("threshold", {"threshold": 0.5, "value": -7.0}), ("tanhshrink", {}), ("softshrink", {}),
        ("softshrink", {"lambd": 0.0}), ("hardshrink", {}), ("hardshrink", {"lambd": 1.0}), ("rrelu", {}), ("rrelu", {"training": True, "lower": 0.3, "upper": 0.3}),
    )
])  # fmt: skip

SCALES = {"weight": normal(6), "bias": normal(6)}
MOMENTS = {
    "running_mean": fixed(normal(3)),
    "running_var": fixed(uniform(3, low=0.5, high=1.5)),
    "weight": normal(3),
    "bias": normal(3),
}
TABLE_OF_ROWS = normal(6, 3)
OTHERS = [
    function("linear", normal(2, 3), normal(4, 3), normal(4)), function("linear", normal(3), normal(3)), function("linear", normal(2, 4, 3), normal(5, 3)),
    *(function("bilinear", normal(*lead, 3), normal(*lead, 2), normal(5, 3, 2), normal(5)) for lead in ((4,), (2, 3), ())),
    function("embedding", classes(6, 2, 4), TABLE_OF_ROWS), function("embedding", classes(6, 2, 4), TABLE_OF_ROWS, padding_idx=-1),
    function("embedding", given([0, 1, 1, 3]), TABLE_OF_ROWS, padding_idx=1, scale_grad_by_freq=True),
    function("embedding", given([0, 3, 3]), fixed(TABLE_OF_ROWS), max_norm=1.0, norm_type=1.0),
    function("one_hot", given([[0, 2], [1, 1]])), function("one_hot", given([0, 2]), num_classes=5), function("one_hot", given(3), num_classes=4),
    function("softmax", normal(3, 4), dim=0), function("softmax", normal(3, 4), dim=-1), function("log_softmax", normal(3, 4, 2), dim=1), function("softmin", normal(3, 4), dim=1),
    *(function("glu", normal(4, 6, 2), dim=dim) for dim in (-1, 0, 1)),
    *(function("prelu", normal(*shape), normal(n)) for shape, n in (((4, 3), 3), ((2, 3, 5), 3), ((2, 3, 2, 2), 1), ((5,), 1))),
    *(function("cdist", normal(4, 3), normal(5, 3), p=p) for p in (1.0, 2.0, 2.5, math.inf)), function("cdist", normal(2, 4, 3), normal(2, 5, 3)),
    function("layer_norm", normal(4, 6), normalized_shape=(6,), **SCALES), function("layer_norm", normal(2, 3, 4), normalized_shape=(3, 4), eps=1e-3),
    function("rms_norm", normal(4, 6), normalized_shape=(6,), weight=normal(6)), function("rms_norm", normal(2, 3, 4), normalized_shape=(3, 4), eps=1e-3),
    function("rms_norm", normal(5), normalized_shape=(5,)), function("group_norm", normal(2, 6), num_groups=3, **SCALES),
    function("group_norm", normal(2, 6, 4, 3), num_groups=2, eps=1e-3, **SCALES), function("group_norm", normal(2, 4, 3), num_groups=4),
    function("instance_norm", normal(2, 3, 5), weight=normal(3), bias=normal(3)), function("instance_norm", normal(2, 3, 4, 2), eps=1e-2),
    function("local_response_norm", normal(2, 7, 3), size=5), function("local_response_norm", normal(2, 5, 3, 2), size=2, alpha=0.5, beta=0.6, k=2.0),
    function("local_response_norm", normal(2, 3, 2), size=7, alpha=1.0),
    *(
        function("batch_norm", normal(*shape), **MOMENTS, training=own, momentum=0.3)
        for own in (True, False) for shape in ((5, 3), (4, 3, 2), (2, 3, 4, 2), (2, 3, 2, 2, 2))
    ),
    *(
        function("instance_norm", normal(*shape), **MOMENTS, use_input_stats=own, momentum=0.3)
        for own in (True, False) for shape in ((4, 3, 2), (2, 3, 4, 2), (2, 3, 2, 2, 2))
    ),
    *(function(name, normal(2, 7), **options) for name, options in (("alpha_dropout", {}), ("dropout", {"p": 0.0}), ("dropout", {"training": False}))),
    function("feature_alpha_dropout", normal(2, 7)), *(function(f"dropout{n}d", normal(2, 3, *(2,) * n), training=False) for n in (1, 2, 3)),
    *(function("embedding_bag", classes(6, 7), normal(6, 3), given([0, 2, 2, 5]), mode=mode) for mode in ("mean", "sum", "max")),
    function("embedding_bag", classes(6, 5), normal(6, 3), given([0, 3]), mode="sum", per_sample_weights=normal(5)),
    function("embedding_bag", given([[0, 1, 3], [1, 1, 4]]), normal(6, 3), padding_idx=1),
    function("max_unpool1d", normal(1, 2, 3), given([[[0, 3, 4], [1, 2, 5]]]), 2), function("max_unpool2d", normal(1, 1, 2, 2), given([[[[0, 3], [9, 14]]]]), 2),
    function("max_unpool3d", normal(1, 1, 1, 2, 1), given([[[[[3], [10]]]]]), 2),
    function("fractional_max_pool2d", normal(2, 4, 6, 5), 2, output_size=(3, 2), _random_samples=fixed(uniform(2, 4, 2))),
    function("fractional_max_pool3d", normal(1, 2, 5, 4, 4), 2, output_ratio=0.6, _random_samples=fixed(uniform(1, 2, 3)), return_indices=True),
    function("pad", normal(2, 3, 4), pad=(1, 2)), function("pad", normal(2, 3, 4), pad=(1, -1, 0, 2), value=3.5), function("pad", normal(2, 3, 4), pad=(2, 1), mode="reflect"),
    function("pad", normal(2, 3, 4), pad=(2, 1), mode="replicate"), function("pad", normal(1, 2, 3, 4), pad=(2, 1, 1, 0), mode="circular"),
    function("pixel_shuffle", normal(2, 8, 3, 2), upscale_factor=2), function("pixel_unshuffle", normal(2, 2, 4, 6), downscale_factor=2), function("channel_shuffle", normal(2, 8, 3, 2), groups=4),
    *(function("affine_grid", normal(size[0], len(size) - 2, len(size) - 1), size=size, align_corners=c) for c in (True, False) for size in ((2, 3, 4, 5), (1, 1, 1, 3), (2, 1, 2, 3, 4))),
]  # fmt: skip


def several(draw: random.Random, n: int, least: int, most: int) -> Any:
    return draw.randint(least, most) if draw.random() < 0.4 else tuple(draw.randint(least, most) for _ in range(n))


def convolution(draw: random.Random, n: int) -> Case:
    groups = draw.choice([1, 1, 2, 3])
    c, o = groups * draw.randint(1, 2), groups * draw.randint(1, 2)
    options: dict[str, Any] = {"dilation": several(draw, n, 1, 2), "groups": groups}
    how = draw.random()
    if how < 0.2:
        options["padding"] = "same"
    else:
        options |= {"stride": several(draw, n, 1, 3), "padding": "valid" if how < 0.3 else several(draw, n, 0, 2)}
    lead = (draw.choice([1, 2]), c) if draw.random() < 0.8 else (c,)
    inputs = [
        normal(*lead, *(draw.randint(5, 6) for _ in range(n))),
        normal(o, c // groups, *(draw.randint(1, 3) for _ in range(n))),
    ]
    return function(f"conv{n}d", *inputs, *([normal(o)] if draw.random() < 0.5 else []), **options)


def transposed(draw: random.Random, n: int) -> Case:
    groups = draw.choice([1, 1, 2])
    c, o = groups * draw.randint(1, 2), groups * draw.randint(1, 2)
    stride, dilation = draw.randint(1, 3), draw.randint(1, 3)
    options = {
        "stride": stride, "dilation": dilation, "groups": groups, "padding": several(draw, n, 0, 1),
        "output_padding": draw.randint(0, max(stride, dilation) - 1),
    }  # fmt: skip
    lead = (draw.choice([1, 2]), c) if draw.random() < 0.8 else (c,)
    inputs = [
        normal(*lead, *(draw.randint(2, 3) for _ in range(n))),
        normal(c, o // groups, *(draw.randint(2, 3) for _ in range(n))),
    ]
    return function(f"conv_transpose{n}d", *inputs, *([normal(o)] if draw.random() < 0.5 else []), **options)


def interpolation(draw: random.Random, mode: str) -> Case:
    n = SMOOTH.get(mode) or draw.choice([1, 2, 3])
    options: dict[str, Any] = {"mode": mode}
    if draw.random() < 0.5:
        options["size"] = draw.choice([draw.randint(1, 6), tuple(draw.randint(1, 6) for _ in range(n))])
    else:
        scales = [0.5, 1.5, 2, 2.5]  # exact, for PyTorch computes places in single precision
        options["scale_factor"] = draw.choice([draw.choice(scales), tuple(draw.choice(scales) for _ in range(n))])
        if draw.random() < 0.3 and mode != "area":
            options["recompute_scale_factor"] = True
    if mode in SMOOTH:
        options["align_corners"] = draw.choice([True, False, None])
        options["antialias"] = SMOOTH[mode] == 2 and draw.random() < 0.4
    return function("interpolate", normal(1, draw.randint(1, 2), *(draw.randint(2, 4) for _ in range(n))), **options)


def reading(draw: random.Random, n: int, **options: Any) -> Case:
    batch = draw.choice([1, 2])
    x = normal(batch, draw.randint(1, 2), *(draw.randint(1, 4) for _ in range(n)))
    places = uniform(batch, *(draw.randint(1, 3) for _ in range(n)), n, low=-1.6, high=1.6)
    return function("grid_sample", x, places, **options, align_corners=draw.choice([True, False]))


def attending(draw: random.Random) -> Case:
    n, m, e, v = (draw.randint(1, 4) for _ in range(4))
    lead = [(), (2,), (2, 4)][draw.randrange(3)]
    heads = lead
    options: dict[str, Any] = {"is_causal": draw.random() < 0.3}
    if draw.random() < 0.3:
        options["scale"] = draw.uniform(0.1, 2)
    if len(lead) == 2 and draw.random() < 0.5:
        options["enable_gqa"], heads = True, (2, draw.choice([1, 2]))
    inputs = [normal(*lead, n, e), normal(*heads, m, e), normal(*heads, m, v)]
    if not options["is_causal"] and draw.random() < 0.6:
        shape = draw.choice([(n, m), (1, m), (*lead, n, m)])
        hidden = draw.random() < 0.5
        inputs.append(Draw(lambda rng: rng.random(shape) < 0.6) if hidden else normal(*shape))
    return function("scaled_dot_product_attention", *inputs, **options)


SMOOTH = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
POOL = [
    function(f"{kind}_pool{n}d", uniform(2, 2, *(6, 5, 4)[:n]) if kind == "lp" else normal(2, 2, *(6, 5, 4)[:n]), *args, **options)
    for n in (1, 2, 3)
    for kind, args, options in (
        ("max", (2,), {}), ("max", (3, 2, 1), {"ceil_mode": True}), ("max", (2, 1), {"dilation": 2, "return_indices": True}), ("avg", (2,), {}),
        ("avg", (3, 2, 1), {"count_include_pad": False, "ceil_mode": True}), ("lp", (2.0, 2), {}), ("lp", (3.0, 3), {"stride": 1}),
        ("adaptive_avg", (3,), {}), ("adaptive_max", (2,), {"return_indices": True}),
    )
] + [
    function("avg_pool2d", normal(3, 5, 4), (3, 2), divisor_override=4), function("unfold", normal(2, 3, 5, 4), (3, 2), dilation=1, padding=1, stride=2),
    function("fold", normal(2, 12, 12), (4, 5), 2), function("fold", normal(18, 6), (4, 5), 3, padding=1, stride=2), function("unfold", normal(3, 5, 4), 2, dilation=2),
]  # fmt: skip
GENERATED = [
    *(convolution(random.Random(seed), n) for n in (1, 2, 3) for seed in range(6)),
    *(transposed(random.Random(seed), n) for n in (1, 2, 3) for seed in range(6)),
    *(interpolation(random.Random(seed), mode) for mode in [*SMOOTH, "nearest", "nearest-exact", "area"] for seed in range(6)),
    *(
        reading(random.Random(seed), n, mode=mode, padding_mode=padding)
        for mode, n in (("bilinear", 2), ("bilinear", 3), ("nearest", 2), ("nearest", 3), ("bicubic", 2))
        for padding in ("zeros", "border", "reflection") for seed in range(2)
    ),
    *(attending(random.Random(seed)) for seed in range(24)),
]  # fmt: skip

LOSS_CASES = numbered([*LOSSES, *DISTANCES])
OTHER_CASES = numbered([*OTHERS, *POOL, *GENERATED])
FUNCTIONS: dict[str, Case] = {**LOSS_CASES, **OTHER_CASES, **ACTIVATIONS}
FILES = {"losses": LOSS_CASES, "functions": OTHER_CASES, "activation_functions": ACTIVATIONS}
FILE_OF = {name: file for file, cases in FILES.items() for name in cases}
# random, and tested where their generator is
WITHOUT_A_CASE = {"gumbel_softmax"}
