"""The arguments and defaults of PyTorch's classes and functions that backlit has too, as one file of text."""

from __future__ import annotations

import ast
import inspect
import json
from typing import Any

import torch
from recorded import FOLDER
from reference_signatures import NAMESPACES, names_of, parts

# what PyTorch does not say of its own functions in C++
BUILTIN = {
    "bilinear": "input1 input2 weight bias=None", "gelu": "input approximate='none'", "cosine_similarity": "x1 x2 dim=1 eps=1e-8",
    "hardshrink": "input lambd=0.5", "linear": "input weight bias=None", "logsigmoid": "input", "one_hot": "tensor num_classes=-1",
    "pairwise_distance": "x1 x2 p=2.0 eps=1e-6 keepdim=False", "pdist": "input p=2.0", "prelu": "input weight",
    "softplus": "input beta=1.0 threshold=20.0", "softshrink": "input lambd=0.5", "channel_shuffle": "input groups",
    "pixel_shuffle": "input upscale_factor", "pixel_unshuffle": "input downscale_factor",
    **{f"conv{n}d": "input weight bias=None stride=1 padding=0 dilation=1 groups=1" for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": "input weight bias=None stride=1 padding=0 output_padding=0 groups=1 dilation=1" for n in (1, 2, 3)},
    "avg_pool1d": "input kernel_size stride=None padding=0 ceil_mode=False count_include_pad=True",
    **{f"avg_pool{n}d": "input kernel_size stride=None padding=0 ceil_mode=False count_include_pad=True divisor_override=None" for n in (2, 3)},
    "scaled_dot_product_attention": "query key value attn_mask=None dropout_p=0.0 is_causal=False scale=None enable_gqa=False",
    "adaptive_avg_pool1d": "input output_size",
    **{f"max_pool{n}d": "input kernel_size stride=None padding=0 dilation=1 ceil_mode=False return_indices=False" for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": "input output_size return_indices=False" for n in (1, 2, 3)},
}  # fmt: skip


def written(text: str) -> list[list[Any]]:
    pairs = [word.partition("=") for word in text.split()]
    return [[[name, *([ast.literal_eval(default)] if equals else [])] for name, equals, default in pairs], []]


def listed(name: str, found: Any) -> list[list[Any]] | None:
    """Those by position, and those by keyword alone."""
    if name in BUILTIN:
        return written(BUILTIN[name])
    try:
        parameters = inspect.signature(found).parameters.values()
    except ValueError:
        return None
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters) and len(parameters) <= 2:
        return None  # it says nothing of its arguments
    return parts(parameters)


def write_signatures() -> None:
    found: dict[str, Any] = {"torch": torch.__version__}
    for space, (_, theirs) in NAMESPACES.items():
        place: Any = torch
        for part in theirs.split(".")[1:]:
            place = getattr(place, part)
        found[f"{space}"] = sorted(n for n in dir(place) if n[0] != "_" and callable(getattr(place, n)))
        for name in names_of(space):
            value = getattr(torch if name == "cdist" else place, name, None)
            if value is None:
                continue
            found[f"{space}.{name}"] = listed(name, value)
            if space == "nn" and ("Transformer" in name or name == "MultiheadAttention"):
                found[f"{space}.{name}.forward"] = listed(f"{name}.forward", value.forward)
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(found.items())]
    (FOLDER / "signatures.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"signatures: {len(found) - 1 - len(NAMESPACES)}")
