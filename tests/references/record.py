"""Records what PyTorch gives for every case of the tables: `make references`, with PyTorch 2.13 installed.

The inputs, the parameters and the cotangents are drawn by NumPy from a seed that is the checksum of the case's name, in
single precision, and are the same for both runs: one in double precision throughout, one in single.
"""

from __future__ import annotations

import contextlib
import datetime
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from recorded import DTYPES, write
from reference_functions import FUNCTIONS
from reference_layers import LAYERS
from reference_run import Array, Arrays, Case, Given, build, run

OPTIONS = "CPU, one thread, deterministic algorithms; the default dtype is that of the run"


class Layers:
    """PyTorch's layers, but for one whose gradient in double precision has a sixth of single precision."""

    class Hardsigmoid(torch.nn.Hardsigmoid):
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.relu6(x + 3.0) / 6.0

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.nn, name)


class Torch:
    nn, functional = Layers(), torch.nn.functional

    @staticmethod
    def tensor(array: Array, trained: bool) -> Any:
        return torch.tensor(array, requires_grad=trained)

    @staticmethod
    def array(tensor: Any) -> Array:
        return np.array(tensor.detach().numpy())

    @staticmethod
    def is_tensor(value: Any) -> bool:
        return isinstance(value, torch.Tensor)

    @staticmethod
    def load(module: Any, values: Arrays) -> None:
        module.load_state_dict({k: torch.tensor(v) for k, v in values.items()}, strict=False)

    @staticmethod
    def call(module: Any, inputs: Any, options: dict[str, Any]) -> Any:
        lengths = options.pop("lengths", None)
        if lengths is None:
            return module(*inputs, **options)
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            inputs[0], lengths, batch_first=module.batch_first, enforce_sorted=False
        )
        out, last = module(packed, *inputs[1:])
        return torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=module.batch_first)[0], last


@contextlib.contextmanager
def default(dtype: str) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def header() -> dict[str, str]:
    return {
        "torch": torch.__version__, "numpy": np.__version__, "date": datetime.date.today().isoformat(), "options": OPTIONS,
        "seed": "the CRC-32 of a case's name", "made by": "tests/references/record.py (make references)",
    }  # fmt: skip


def facts_of(module: Any) -> dict[str, Any]:
    state = [[k, list(v.shape), str(v.dtype).removeprefix("torch.")] for k, v in module.state_dict().items()]
    return {"state": state, "parameters": [n for n, _ in module.named_parameters()], "repr": module.extra_repr()}


def recorded(
    cases: dict[str, Case], extra: Callable[[Case, Given], Any] | None = None
) -> tuple[dict[str, Any], Arrays]:
    facts: dict[str, Any] = {}
    arrays: Arrays = {}
    for name, case in cases.items():
        take = Given({}, seed=name)
        for dtype in DTYPES:
            with default(dtype):
                results = run(Torch, case, take, np.dtype(dtype))
                if dtype == "float32" and case.is_module:
                    facts[name] = facts_of(build(Torch, case, take, np.dtype(dtype)))
            arrays |= {f"{name}|{dtype}|{k}": v for k, v in results.items()}
        arrays |= {f"{name}|given|{k}": v for k, v in take.arrays.items()}
    return facts, arrays


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    warnings.simplefilter("ignore")  # of the mean of kl_div, of nested tensors, of targets that are broadcast
    for name, cases in (("layers", LAYERS), ("functions", FUNCTIONS)):
        facts, arrays = recorded(cases)
        size = write(f"{name}.safetensors.xz", header(), facts, arrays)
        print(f"{name}: {len(cases)} cases, {len(arrays)} arrays, {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
