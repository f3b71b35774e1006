"""Everything in `torch.nn`, `torch.nn.init` and `torch.nn.utils` has its counterpart or stands in a list of what is left out.

Each layer has the arguments, defaults, `repr`, and names, order, shapes and dtypes of parameters and buffers of PyTorch's, and
a state dict goes both ways unchanged.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from backlit import nn

torch = pytest.importorskip("torch")
OTHER_MACHINES = ["DataParallel", "SyncBatchNorm"]
OLD = ["Container", "NLLLoss2d", "CrossMapLRN2d"]  # by other names, or deprecated
LEFT_OUT = {
    *OTHER_MACHINES, *OLD, "RNNBase", "RNNCellBase", "UninitializedBuffer", "UninitializedParameter", "factory_kwargs",
    "AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss", "LinearCrossEntropyOptions",
    *(n for n in dir(torch.nn) if n.startswith("Lazy")),
}  # fmt: skip
ARGUMENTS = {
    "Linear": (3, 4), "Bilinear": (3, 2, 4), "Embedding": (5, 3), "Conv1d": (2, 4, 3), "Conv2d": (2, 4, 3), "Conv3d": (2, 4, 3),
    "ConvTranspose1d": (2, 4, 3), "ConvTranspose2d": (2, 4, 3), "ConvTranspose3d": (2, 4, 3), "BatchNorm1d": (3,), "BatchNorm2d": (3,),
    "BatchNorm3d": (3,), "InstanceNorm1d": (3,), "InstanceNorm2d": (3,), "InstanceNorm3d": (3,), "GroupNorm": (2, 4), "LayerNorm": (4,),
    "RMSNorm": (4,), "LocalResponseNorm": (2,), "RNN": (3, 4), "LSTM": (3, 4), "GRU": (3, 4), "RNNCell": (3, 4), "LSTMCell": (3, 4),
    "GRUCell": (3, 4), "MultiheadAttention": (8, 2), "TransformerEncoderLayer": (8, 2, 16), "TransformerDecoderLayer": (8, 2, 16),
    "Transformer": (8, 2, 1, 1, 16), "Threshold": (0.1, 2.0), "Unflatten": (1, (2, 3)), "PixelShuffle": (2,), "PixelUnshuffle": (2,),
    "ChannelShuffle": (2,), "Fold": ((4, 4), 2), "Unfold": (2,), "MaxPool1d": (2,), "MaxPool2d": (2,), "MaxPool3d": (2,),
    "AvgPool1d": (2,), "AvgPool2d": (2,), "AvgPool3d": (2,), "LPPool1d": (2, 3), "LPPool2d": (2, 3), "LPPool3d": (2, 3),
    "AdaptiveAvgPool1d": (2,), "AdaptiveAvgPool2d": (2,), "AdaptiveAvgPool3d": (2,), "AdaptiveMaxPool1d": (2,), "AdaptiveMaxPool2d": (2,),
    "AdaptiveMaxPool3d": (2,), "MaxUnpool1d": (2,), "MaxUnpool2d": (2,), "MaxUnpool3d": (2,), "EmbeddingBag": (5, 3),
    "FractionalMaxPool2d": (2, 3), "FractionalMaxPool3d": (2, 3), "Upsample": (None, 2), "UpsamplingBilinear2d": (None, 2),
    "UpsamplingNearest2d": (None, 2), "ConstantPad1d": (1, 0.0), "ConstantPad2d": (1, 0.0), "ConstantPad3d": (1, 0.0),
    **{f"{kind}Pad{n}d": (1,) for kind in ("Zero", "Circular", "Reflection", "Replication") for n in (1, 2, 3)},
}  # fmt: skip
LAYERS = sorted(
    name for name, value in vars(torch.nn).items()
    if inspect.isclass(value) and issubclass(value, torch.nn.Module) and hasattr(nn, name)
    and name not in ("Module", "TransformerEncoder", "TransformerDecoder")
)  # fmt: skip
LEGACY = {
    "self",
    "size_average",
    "reduce",
    "device",
    "dtype",
    "min_value",
    "max_value",
    "generator",
    "rotary",
    "args",
    "kwargs",
}


def public(module):
    return {n for n in dir(module) if not n.startswith("_") and not inspect.ismodule(getattr(module, n))}


def test_what_pytorch_has():
    assert public(torch.nn) - public(nn) <= LEFT_OUT
    assert not LEFT_OUT & public(nn)


def test_initialisers_and_utilities():
    mine, its = public(nn.init), {n for n in public(torch.nn.init) if n.endswith("_") or n == "calculate_gain"}
    assert its <= mine
    assert {n for n in torch.nn.utils.__all__ if not inspect.ismodule(getattr(torch.nn.utils, n))} - public(nn.utils) <= {
        "clip_grad_norm", "convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format", "fuse_linear_bn_eval",
        "fuse_linear_bn_weights", "fuse_conv_bn_eval", "fuse_conv_bn_weights", "remove_spectral_norm", "remove_weight_norm",
        "skip_init", "spectral_norm", "weight_norm", "parametrizations",
    }  # fmt: skip
    for name in its:
        listed = lambda f: [(p.name, p.default) for p in inspect.signature(f).parameters.values()]
        wanted = [p for p in listed(getattr(torch.nn.init, name)) if p[0] != "generator"]
        assert [p for p in listed(getattr(nn.init, name)) if p[0] != "generator"] == wanted, name


def arguments(cls):
    """Of a layer, in order where it is by position."""
    found = [p for p in inspect.signature(cls.__init__).parameters.values() if p.name not in LEGACY]
    plain = [(p.name, p.default) for p in found if p.kind is p.POSITIONAL_OR_KEYWORD]
    return plain, {(p.name, p.default) for p in found if p.kind is p.KEYWORD_ONLY}


RECURRENT = {"RNN", "LSTM", "GRU"}  # theirs take anything, and hand it on
CONTAINERS = {"Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"}


@pytest.mark.parametrize("name", [n for n in LAYERS if n not in RECURRENT | CONTAINERS])
def test_arguments_and_defaults(name):
    mine, its = arguments(getattr(nn, name)), arguments(getattr(torch.nn, name))
    if "activation" in dict(mine[0]):
        mine, its = (
            ([(n, "relu") if n == "activation" else (n, d) for n, d in side[0]], side[1]) for side in (mine, its)
        )
    assert mine == its


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", [n for n in LAYERS if n not in CONTAINERS])
def test_state_goes_both_ways(name):
    args = ARGUMENTS.get(name, ())
    mine, its = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    if not name.startswith("Transformer"):
        assert repr(mine).split("  # ")[0].splitlines()[0].rstrip("()") == repr(its).splitlines()[0].rstrip("()")
    listed = lambda state: [(k, tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in state.items()]
    assert listed(mine.state_dict()) == listed(its.state_dict())
    for walk in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        wanted = [n for n, _ in getattr(its, walk)()]
        assert [n for n, _ in getattr(mine, walk)()] == [n for n in wanted if n != "distance_function"], walk
    rng = np.random.default_rng(0)
    given = {k: torch.tensor(rng.standard_normal(tuple(v.shape))).to(v.dtype) for k, v in its.state_dict().items()}
    its.load_state_dict(given)
    assert mine.load_state_dict(its.state_dict()) == ([], [])
    other = getattr(torch.nn, name)(*args)
    other.load_state_dict({k: torch.tensor(v.numpy().copy()) for k, v in mine.state_dict().items()})
    for k, v in other.state_dict().items():
        assert torch.equal(v, given[k]), k


def test_methods_of_modules():
    left_out = {
        "T_destination", "call_super_init", "dump_patches", "compile", "cpu", "cuda", "ipu", "mtia", "xpu", "share_memory", "to_empty",
        "register_backward_hook", "get_extra_state", "set_extra_state",
    }  # fmt: skip
    assert {n for n in dir(torch.nn.Module) if not n.startswith("_")} - set(dir(nn.Module())) <= left_out
    for name in ("named_modules", "named_parameters", "named_buffers", "load_state_dict", "register_buffer", "register_forward_hook",
                 "register_forward_pre_hook", "register_full_backward_hook", "register_full_backward_pre_hook", "zero_grad"):  # fmt: skip
        listed = lambda cls, name=name: [
            (p.name, p.default) for p in inspect.signature(getattr(cls, name)).parameters.values()
        ]
        assert [p[1] for p in listed(nn.Module)] == [p[1] for p in listed(torch.nn.Module)], name
