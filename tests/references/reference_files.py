"""Which files of weights are recorded, and what is computed with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from reference_run import Arrays, Given, Library, cast

# the file of each network, its dtype, and the arguments of its constructor in eval and in train mode (without chance)
FILES: dict[str, tuple[str, str, dict[str, dict[str, Any]]]] = {
    "gpt": ("GPT", "float32", {"eval": {}, "train": {"dropout": 0.0}}),
    "gpt_bfloat16": ("GPT", "bfloat16", {"eval": {}, "train": {"dropout": 0.0}}),
    "resnet": ("ResNet", "float32", {"eval": {}, "train": {}}),
    "resnet_float16": ("ResNet", "float16", {"eval": {}, "train": {}}),
}


def inputs(name: str, rng: np.random.Generator) -> Any:
    return rng.integers(0, 29, (2, 10)) if name == "GPT" else rng.standard_normal((3, 3, 10, 8))


def compute(library: Library, networks: Any, load: Any, file: str, take: Given, dtype: Any) -> Arrays:
    """Outputs in both modes; while training the running moments afterwards, and for single precision all gradients."""
    name, kept, modes = FILES[file]
    results: Arrays = {}
    for mode, options in modes.items():
        model = getattr(networks, name)(**options)
        load(model)
        model.train(mode == "train")
        x = cast(take("input", lambda rng: inputs(name, rng)), dtype)
        out = model(library.tensor(x, False))
        results[f"{mode} output"] = library.array(out)
        if mode == "eval":
            continue
        results |= {f"{mode} buffer.{k}": library.array(b).copy() for k, b in model.named_buffers()}
        if kept == "float32":
            cotangent = take("cotangent", lambda rng, shape=tuple(out.shape): rng.standard_normal(shape))
            (out * library.tensor(cast(cotangent, dtype), False)).sum().backward()
            results |= {f"{mode} gradient.{k}": library.array(p.grad) for k, p in model.named_parameters()}
    return results
