"""The weights of a GPT and of a ResNet as safetensors files, as PyTorch writes them, and what these networks give."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch_networks
from recorded import FOLDER
from reference_files import FILES, inputs
from safetensors.torch import load_file, load_model, save_file, save_model


def trained(name: str) -> Any:
    """A network whose norms have weights, biases and running moments of their own."""
    torch.manual_seed(5)
    model = getattr(torch_networks, name)()
    rng = np.random.default_rng(6)
    with torch.no_grad():
        for p in model.parameters():
            p += torch.tensor(0.1 * rng.standard_normal(tuple(p.shape)), dtype=p.dtype)
        for _ in range(3):
            batch = torch.tensor(inputs(name, rng))
            model(batch.float() if batch.is_floating_point() else batch)
    return model


def write_weights() -> None:
    """One file for each of the table.

    The tensor that two names share is written once in single precision, as `save_model` does, with the other name in the
    metadata; in the other dtypes once for each name.
    """
    for file, (name, dtype, _) in FILES.items():
        model, path = trained(name), FOLDER / f"{file}.safetensors"
        if dtype == "float32":
            save_model(model, str(path), metadata={"format": "pt"})
            continue
        state = {k: v.clone() for k, v in model.state_dict().items()}
        to = getattr(torch, dtype)
        save_file(
            {k: v.to(to) if v.is_floating_point() else v for k, v in state.items()}, path, metadata={"format": "pt"}
        )


def load_weights(file: str, model: Any) -> None:
    path = FOLDER / f"{file}.safetensors"
    if FILES[file][1] == "float32":
        load_model(model, path)
    else:
        model.load_state_dict(load_file(path))
