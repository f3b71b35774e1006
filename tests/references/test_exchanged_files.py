"""A GPT and a ResNet whose weights PyTorch wrote, in backlit, and the way back."""

from __future__ import annotations

from pathlib import Path

import backlit_networks
import numpy as np
import pytest
from recorded import DTYPES, FOLDER, Backlit, agree, read, taken
from reference_files import FILES, compute
from safetensors import safe_open

import backlit as bl
from backlit import nn
from backlit.core.errors import DataError
from backlit.io import load_metadata


def path_of(file):
    return FOLDER / f"{file}.safetensors"


def tensors(path):
    """Everything in a file: shape, dtype and bytes by name."""
    with safe_open(path, framework="np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return {name: (a.shape, a.dtype.name, a.tobytes()) for name, a in found.items()}


def load(file):
    return lambda model: model.load_state_dict(bl.load(path_of(file)))


@pytest.fixture
def default(dtype):
    bl.set_default_dtype(dtype)
    yield dtype
    bl.set_default_dtype("float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("file", FILES)
def test_a_file_of_pytorch_gives_pytorchs_outputs(file, default):
    case = read("networks")[2][file]
    found = compute(Backlit, backlit_networks, load(file), file, taken(case), np.dtype(default))
    agree(found, case[default], default)


def test_the_networks_are_those_of_pytorch_but_for_the_imports():
    texts = [(FOLDER / f"{name}_networks.py").read_text(encoding="utf-8") for name in ("torch", "backlit")]
    theirs, ours = (text[text.index("class Attention") :] for text in texts)
    assert theirs.replace("torch.", "bl.") == ours


@pytest.mark.parametrize("file", FILES)
def test_the_way_back_is_the_same_file(file, tmp_path):
    """Names, shapes, dtypes and bytes; the tensor with two names is there under both."""
    name, dtype, _ = FILES[file]
    model = getattr(backlit_networks, name)()
    load(file)(model)
    state = model.state_dict()
    if dtype != "float32":
        state = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in state.items()}
    bl.save(state, tmp_path / "back.safetensors")
    theirs, back = tensors(path_of(file)), tensors(tmp_path / "back.safetensors")
    if file == "gpt":
        theirs["transformer.wte.weight"] = theirs["lm_head.weight"]
    assert back == theirs
    if name == "ResNet":
        assert back["bn1.num_batches_tracked"] == ((), "int64", (3).to_bytes(8, "little"))


@pytest.mark.parametrize("file", FILES)
def test_what_backlit_saved_gives_the_same_in_pytorch(file, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import torch_networks
    from safetensors.torch import load_file

    name = FILES[file][0]
    model = getattr(backlit_networks, name)()
    load(file)(model)
    bl.save(model.state_dict(), tmp_path / "back.safetensors")
    other = getattr(torch_networks, name)()
    other.load_state_dict(load_file(tmp_path / "back.safetensors"))
    case = read("networks")[2][file]
    given = case["given"]["input"]
    out = other.eval()(torch.tensor(given)).detach().numpy()
    agree({"eval output": out}, {"eval output": case["float32"]["eval output"]}, "float32")


def test_metadata_of_pytorch_is_kept_apart():
    assert load_metadata(path_of("gpt_bfloat16")) == {"format": "pt"}
    assert load_metadata(path_of("gpt")) == {"format": "pt", "transformer.wte.weight": "lm_head.weight"}
    assert "transformer.wte.weight" not in bl.load(path_of("gpt"))
    assert {v.dtype.name for v in bl.load(path_of("gpt_bfloat16")).values()} == {"bfloat16"}
    assert {v.dtype.name for v in bl.load(path_of("resnet_float16")).values()} == {"float16", "int64"}


def test_one_name_of_a_shared_parameter_is_enough_and_none_is_missing():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    state = {k: v.numpy() + 1 for k, v in model.state_dict().items()}
    for name in ("0.weight", "1.weight"):
        part = {k: v for k, v in state.items() if k != name}
        assert model.load_state_dict(part).missing == []
        np.testing.assert_array_equal(model[1].weight.detach().numpy(), state["0.weight"])
    del part["0.weight"]
    with pytest.raises(DataError, match=r"missing: 0.weight, 1.weight"):
        model.load_state_dict(part)


def test_the_recorded_files_are_small():
    sizes = {path.name: path.stat().st_size for path in Path(FOLDER).glob("*.safetensors*")}
    assert sum(sizes.values()) < 3e6
    assert all(size < 500e3 for size in sizes.values())
