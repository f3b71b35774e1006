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
from unittest import mock

import numpy as np
import torch
import torch_networks
from record_files import load_weights, write_weights
from record_signatures import write_signatures
from recorded import DTYPES, difference, write
from reference_files import FILES, compute
from reference_functions import FILES as FUNCTION_FILES
from reference_layers import FAMILIES, HOLDERS
from reference_optim import AVERAGES, CLIPS, GAINS, INITIAL, OPTIMIZERS, SCHEDULED, averaged, clipped, descend, initial
from reference_run import Array, Arrays, Given, build, run

OPTIONS = "CPU, one thread, deterministic algorithms; the default dtype is that of the run"


class Layers:
    """PyTorch's layers, but for one whose gradient in double precision has a sixth of single precision."""

    class Hardsigmoid(torch.nn.Hardsigmoid):
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.relu6(x + 3.0) / 6.0

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.nn, name)


class Lion(torch.optim.Optimizer):
    """Not in PyTorch: algorithm 2 of Chen et al. (2023)."""

    def __init__(
        self, params: Any, lr: float, betas: Any = (0.9, 0.99), weight_decay: float = 0.0, maximize: bool = False
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p] or self.state[p].__ior__({"step": 0.0, "exp_avg": torch.zeros_like(p)})
                g, (a, b) = -p.grad if group["maximize"] else p.grad, group["betas"]
                state["step"] += 1.0
                change = torch.sign(a * state["exp_avg"] + (1 - a) * g) + group["weight_decay"] * p
                p -= group["lr"] * change
                state["exp_avg"] = b * state["exp_avg"] + (1 - b) * g


class LAMB(torch.optim.Optimizer):
    """Not in PyTorch: algorithm 2 of You et al. (2020)."""

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: Any = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ):
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                new = {"step": 0.0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
                state = self.state[p] or self.state[p].__ior__(new)
                g, (a, b) = -p.grad if group["maximize"] else p.grad, group["betas"]
                state["step"] += 1.0
                state["exp_avg"] = m = a * state["exp_avg"] + (1 - a) * g
                state["exp_avg_sq"] = v = b * state["exp_avg_sq"] + (1 - b) * g**2
                m, v = m / (1 - a ** state["step"]), v / (1 - b ** state["step"])
                change = m / (v.sqrt() + group["eps"]) + group["weight_decay"] * p
                p -= group["lr"] * p.norm() / change.norm() * change


class Optimizers:
    """PyTorch's, and the two that it has not."""

    Lion, LAMB = Lion, LAMB

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.optim, name)


class Functions:
    """PyTorch's, likewise."""

    @staticmethod
    def hardsigmoid(x: Any) -> Any:
        return torch.nn.functional.relu6(x + 3.0) / 6.0

    def __getattr__(self, name: str) -> Any:
        return getattr(torch if name == "cdist" else torch.nn.functional, name)


class Torch:
    nn, functional, optim = Layers(), Functions(), Optimizers()

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


def holders() -> dict[str, Any]:
    def matrix(*shape: int) -> Any:
        return torch.nn.Parameter(torch.ones(shape))

    return {name: facts_of(make(torch.nn, matrix)) for name, make in HOLDERS.items()}


def recorded(cases: dict[str, Any], run: Callable[..., Arrays], seed: str | None = None) -> Arrays:
    arrays: Arrays = {}
    for name, case in cases.items():
        take = Given({}, seed=seed or name)
        for dtype in DTYPES:
            with default(dtype):
                results = run(Torch, case, take, np.dtype(dtype))
            arrays |= {f"{name}|{dtype}|{k}": v for k, v in results.items()}
        arrays |= {f"{name}|given|{k}": v for k, v in take.arrays.items()}
    return arrays


def facts(cases: dict[str, Any]) -> dict[str, Any]:
    return {
        name: facts_of(build(Torch, case, Given({}, seed=name), np.dtype("float32"))) for name, case in cases.items()
    }


def well_conditioned(arrays: Arrays, limit: float = 4e-6) -> Arrays:
    """The arrays, if single precision follows double in all cases.

    Raises:
      ValueError: it does not in some, which are named.
    """
    runs: dict[str, dict[str, Arrays]] = {}
    for key, array in arrays.items():
        case, kind, what = key.split("|")
        runs.setdefault(case, {}).setdefault(kind, {})[what] = array.astype(np.float64)
    strays = {case: difference(run["float32"], run["float64"]) for case, run in runs.items()}
    bad = [f"{case}: {where} by {off:.1e}" for case, (off, where) in strays.items() if off > limit]
    if bad:
        raise ValueError("single precision strays from double: " + "; ".join(bad))
    return arrays


def network(library: Any, file: str, take: Given, dtype: Any) -> Arrays:
    return compute(library, torch_networks, lambda model: load_weights(file, model), file, take, dtype)


PROBLEM = (
    "network"  # the seed of the one problem of all optimizers; of seven words that were tried two are well-conditioned
)


def keep(name: str, arrays: Arrays, facts: Any = None) -> None:
    size = write(name, header(), facts, arrays)
    print(f"{name}: {len({key.split('|')[0] for key in arrays})} cases, {len(arrays)} arrays, {size / 1e3:.0f} kB")


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    warnings.simplefilter("ignore")  # of the mean of kl_div, of nested tensors, of targets that are broadcast
    for family, cases in FAMILIES.items():
        keep(family, recorded(cases, run), facts(cases) | (holders() if family == "linear" else {}))
    for name, cases in FUNCTION_FILES.items():
        keep(name, recorded(cases, run))
    # Muon's products in the parameter's own dtype
    with mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone):
        keep("optimizers", well_conditioned(recorded(OPTIMIZERS, descend, PROBLEM)))
    keep("schedules", well_conditioned(recorded(SCHEDULED, descend, PROBLEM)))
    write_signatures()
    write_weights()
    keep("networks", recorded({file: file for file in FILES}, network))
    others = recorded(CLIPS, clipped) | recorded(AVERAGES, averaged)
    others |= recorded({name: (name, case) for name, case in INITIAL.items()}, initial)
    keep("others", others, {" ".join(map(str, args)): torch.nn.init.calculate_gain(*args) for args in GAINS})


if __name__ == "__main__":
    main()
