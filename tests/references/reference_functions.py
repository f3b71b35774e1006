"""Which functions of `nn.functional` are held against PyTorch's; those that are modules too are called as both."""

from __future__ import annotations

import math

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

FUNCTIONS: dict[str, Case] = numbered([*LOSSES, *DISTANCES])
