"""The functions of `nn.functional` have the arguments, in their order, and the defaults of PyTorch's of the same name."""

from __future__ import annotations

import inspect

import pytest

from backlit.nn import functional as F

torch = pytest.importorskip("torch")
LEFT_OUT = {"size_average", "reduce", "_stacklevel", "out", "device"}
BUILTIN = {  # what PyTorch does not say of its own functions in C++
    "bilinear": [("input1",), ("input2",), ("weight",), ("bias", None)], "gelu": [("input",), ("approximate", "none")],
    "cosine_similarity": [("x1",), ("x2",), ("dim", 1), ("eps", 1e-8)], "hardshrink": [("input",), ("lambd", 0.5)],
    "linear": [("input",), ("weight",), ("bias", None)], "logsigmoid": [("input",)], "one_hot": [("tensor",), ("num_classes", -1)],
    "pairwise_distance": [("x1",), ("x2",), ("p", 2.0), ("eps", 1e-6), ("keepdim", False)], "pdist": [("input",), ("p", 2.0)],
    "prelu": [("input",), ("weight",)], "softplus": [("input",), ("beta", 1.0), ("threshold", 20.0)],
    "softshrink": [("input",), ("lambd", 0.5)],
}  # fmt: skip
NAMES = [
    "alpha_dropout",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "embedding",
    "feature_alpha_dropout",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "group_norm",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hinge_embedding_loss",
    "huber_loss",
    "instance_norm",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "margin_ranking_loss",
    "mish",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pairwise_distance",
    "pdist",
    "poisson_nll_loss",
    "prelu",
    "relu",
    "relu6",
    "rms_norm",
    "rrelu",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_defaults(name):
    if name in BUILTIN:
        wanted = BUILTIN[name]
    else:
        found = inspect.signature(getattr(torch.nn.functional, name)).parameters.values()
        wanted = [(p.name,) if p.default is p.empty else (p.name, p.default) for p in found if p.name not in LEFT_OUT]
    ours = inspect.signature(getattr(F, name)).parameters.values()
    added = {"axis", "keepdims", "generator"}  # by keyword only
    assert all(p.kind is p.KEYWORD_ONLY for p in ours if p.name in added)
    assert [(p.name,) if p.default is p.empty else (p.name, p.default) for p in ours if p.name not in added] == wanted
