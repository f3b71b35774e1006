"""Which optimizers, schedules, clippings, averages and initial values are held against PyTorch's, and how they are run.

The problem is a network of two layers, small and smooth, so that its gradients have no kinks; fifty steps do not bring
it to its minimum, where steps that are scaled by the gradients (Adam's and its kin) would follow the rounding alone. A case in
which PyTorch's own run in single precision strays from its own in double by 4e-6 tests luck, not the
algorithm: the recorder refuses it, and it is given other settings here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from reference_run import Arrays, Given, cast

STEPS = 50
SEEN = (1, 2, 5, 10, 20, 30, 40, 50)
SHAPES = {"first": (4, 3), "bias": (3,), "second": (3, 2)}
METRICS = [1.0 / (1 + k) if k < 6 else 0.2 + 0.001 * (k % 3) for k in range(STEPS)]


@dataclasses.dataclass(frozen=True)
class Descent:
    """An optimizer with its settings, those of a second group for the last parameter, and what else a step does."""

    name: str
    settings: dict[str, Any]
    second: dict[str, Any] | None = None
    schedule: str | None = None  # a name of `SCHEDULES`
    clip: tuple[str, float] | None = None
    steps: int = STEPS
    closure: bool = False
    trained: tuple[str, ...] = tuple(SHAPES)


def loss_of(library: Any, cells: dict[str, Any], data: tuple[Any, Any]) -> Any:
    x, y = data
    out = library.functional.tanh(x @ cells["first"] + cells["bias"]) @ cells["second"]
    return ((out - y) ** 2).mean()


def descend(
    library: Any, case: Descent, take: Given, dtype: Any, compiled: Callable[[Any], Any] | None = None
) -> Arrays:
    """The losses of all steps, the parameters at some, the rates of a schedule, and the state at the end."""
    cells, sign = {}, -1.0 if case.settings.get("maximize") else 1.0  # what is maximised has a maximum
    for name, shape in SHAPES.items():
        start = take(name, lambda rng, shape=shape: 0.6 * rng.standard_normal(shape))
        cells[name] = library.tensor(cast(start, dtype), name in case.trained)
    data = tuple(
        library.tensor(cast(take(name, lambda rng, shape=shape: rng.standard_normal(shape)), dtype), False)
        for name, shape in (("x", (6, 4)), ("y", (6, 2)))
    )
    given: Any = [cells[name] for name in case.trained]
    if case.second is not None:
        given = [{"params": given[:-1]}, {"params": given[-1:], **case.second}]
    optimizer = getattr(library.optim, case.name)(given, **case.settings)
    place = library.optim.swa_utils if "SWALR" in str(case.schedule) else library.optim.lr_scheduler
    scheduler = SCHEDULES[case.schedule](place, optimizer) if case.schedule else None

    def value_and_gradients() -> Any:
        optimizer.zero_grad()
        loss = sign * loss_of(library, cells, data)
        loss.backward()
        return loss

    def step() -> Any:
        if case.closure:
            return optimizer.step(value_and_gradients)
        loss = value_and_gradients()
        if case.clip is not None:
            kind, limit = case.clip
            getattr(library.nn.utils, f"clip_grad_{kind}_")([cells[name] for name in case.trained], limit)
        optimizer.step()
        return loss

    run = step if compiled is None else compiled(step)
    results: Arrays = {}
    losses, rates = [], []
    for k in range(1, case.steps + 1):
        losses.append(library.array(run()).copy())
        for name in case.trained if k in SEEN else ():
            results[f"step {k}.{name}"] = library.array(cells[name]).copy()
        if scheduler is not None:
            rates.append([[g[n] for n in ("lr", "momentum", "betas") if n in g.keys()] for g in optimizer.param_groups])  # noqa: SIM118
            scheduler.step(METRICS[k - 1]) if "Plateau" in case.schedule else scheduler.step()
    results["losses"] = np.array(losses)
    if rates:
        results["rates"] = np.array([[np.hstack(group) for group in row] for row in rates], np.float64)
    for number, state in (
        optimizer.state_dict()["state"].items() if not case.closure else ()
    ):  # that of LBFGS is its own affair
        for name, value in state.items():
            if library.is_tensor(value) or isinstance(value, (int, float)):
                array = library.array(value) if library.is_tensor(value) else np.asarray(value)
                results[f"state {number}.{name}"] = array.astype(dtype)
    return results


def optimizer(
    name: str,
    *,
    second: Any = None,
    clip: Any = None,
    trained: Any = tuple(SHAPES),
    steps: int = STEPS,
    **settings: Any,
) -> Descent:
    return Descent(name, settings, second, None, clip, steps, name == "LBFGS", trained)


MATRICES = ("first", "second")
TABLE = [
    optimizer("SGD", lr=0.1), optimizer("SGD", lr=0.05, momentum=0.8), optimizer("SGD", lr=0.05, momentum=0.7, nesterov=True, weight_decay=0.1),
    optimizer("SGD", lr=0.1, momentum=0.8, dampening=0.2), optimizer("SGD", lr=0.1, momentum=0.5, weight_decay=0.1, maximize=True),
    optimizer("SGD", lr=0.1, momentum=0.9, second={"lr": 0.01, "momentum": 0.0, "weight_decay": 0.2}),
    optimizer("SGD", lr=0.1, momentum=0.9, clip=("norm", 0.2)), optimizer("SGD", lr=0.1, clip=("value", 0.05)),
    optimizer("Adam", lr=0.02), optimizer("Adam", lr=0.02, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1), optimizer("Adam", lr=0.02, amsgrad=True, betas=(0.9, 0.9)),
    optimizer("Adam", lr=0.01, maximize=True), optimizer("Adam", lr=0.02, second={"lr": 0.005, "betas": (0.5, 0.9), "eps": 1e-3}),
    optimizer("Adam", lr=0.02, clip=("norm", 0.2)),
    optimizer("Adam", lr=0.02, weight_decay=0.3, decoupled_weight_decay=True),
    optimizer("AdamW", lr=0.02), optimizer("AdamW", lr=0.02, weight_decay=0.3, amsgrad=True, betas=(0.9, 0.9)), optimizer("AdamW", lr=0.01, maximize=True),
    optimizer("RMSprop"), optimizer("RMSprop", lr=0.002, alpha=0.9, momentum=0.7), optimizer("RMSprop", lr=0.005, centered=True, weight_decay=0.1, eps=1e-3),
    optimizer("RMSprop", lr=0.005, centered=True, momentum=0.5, maximize=True),
    optimizer("Adagrad", lr=0.05), optimizer("Adagrad", lr=0.1, lr_decay=0.1, initial_accumulator_value=0.5, weight_decay=0.1), optimizer("Adagrad", lr=0.05, eps=1e-2, maximize=True),
    optimizer("Adadelta"), optimizer("Adadelta", lr=0.5, rho=0.8, eps=1e-4, weight_decay=0.1), optimizer("Adadelta", lr=0.5, eps=1e-3, maximize=True),
    optimizer("Adamax", lr=0.02), optimizer("Adamax", lr=0.02, betas=(0.8, 0.9), weight_decay=0.1, eps=1e-3), optimizer("Adamax", lr=0.02, maximize=True),
    optimizer("NAdam", lr=0.01), optimizer("NAdam", lr=0.01, weight_decay=0.1, momentum_decay=0.1), optimizer("NAdam", lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    optimizer("NAdam", lr=0.01, betas=(0.8, 0.95), eps=1e-3, maximize=True),
    optimizer("RAdam", lr=0.05), optimizer("RAdam", lr=0.02, betas=(0.5, 0.6), weight_decay=0.1), optimizer("RAdam", lr=0.05, betas=(0.8, 0.9), weight_decay=0.1, decoupled_weight_decay=True),
    optimizer("RAdam", lr=0.02, betas=(0.8, 0.9), eps=1e-3, maximize=True),
    optimizer("Lion", lr=0.01), optimizer("Lion", lr=0.01, betas=(0.8, 0.95), weight_decay=0.1), optimizer("Lion", lr=0.01, maximize=True),
    optimizer("LAMB", lr=0.01), optimizer("LAMB", lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.3), optimizer("LAMB", lr=0.02, maximize=True),
    optimizer("Muon", lr=0.02, trained=MATRICES), optimizer("Muon", lr=0.02, momentum=0.8, nesterov=False, weight_decay=0.5, ns_steps=3, trained=MATRICES),
    optimizer("Muon", lr=0.02, adjust_lr_fn="match_rms_adamw", ns_coefficients=(2.0, -1.5, 0.5), trained=MATRICES),
    # with whole steps it is at the minimum long before fifty
    optimizer("LBFGS", lr=0.05, max_iter=1, history_size=4), optimizer("LBFGS", lr=0.05, max_iter=2, history_size=3, steps=20), optimizer("LBFGS", lr=0.3, max_iter=3, steps=10),
    optimizer("LBFGS", lr=1, max_iter=2, line_search_fn="strong_wolfe", steps=10), optimizer("LBFGS", lr=0.5, max_iter=3, line_search_fn="strong_wolfe", history_size=3, steps=8),
]  # fmt: skip


def sequential(s: Any, o: Any) -> Any:
    return s.SequentialLR(o, [s.LinearLR(o, total_iters=4), s.CosineAnnealingLR(o, 20), s.StepLR(o, 7, 0.5)], [5, 25])


def nested(s: Any, o: Any) -> Any:
    warm = s.CosineAnnealingWarmRestarts(o, 4, 2)
    parts = [s.ConstantLR(o, 0.1, 3), s.PolynomialLR(o, 9, 2.0), warm, s.ExponentialLR(o, 0.9)]
    return s.SequentialLR(o, parts, [5, 15, 30])


SCHEDULES: dict[str, Callable[[Any, Any], Any]] = {
    "SWALR": lambda s, o: s.SWALR(o, 0.01, anneal_epochs=12),
    "SWALR linear": lambda s, o: s.SWALR(o, [0.01, 0.02], anneal_epochs=20, anneal_strategy="linear"),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda k: 0.95**k),
    "LambdaLR of each group": lambda s, o: s.LambdaLR(o, [lambda k: 0.95**k, lambda k: 1 / (1 + k)]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda k: 0.9 if k % 2 else 1.05),
    "StepLR": lambda s, o: s.StepLR(o, 7),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [20, 5, 20, 33], gamma=0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.1, 0.9, total_iters=12),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 30, power=1.7),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 12, eta_min=1e-3),
    "CosineAnnealingLR to 0": lambda s, o: s.CosineAnnealingLR(o, 50),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, T_mult=2, eta_min=1e-4),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.1, total_steps=60),
    "OneCycleLR of three phases": lambda s, o: s.OneCycleLR(
        o, [0.1, 0.05], epochs=10, steps_per_epoch=6, three_phase=True, anneal_strategy="linear"
    ),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=5, step_size_down=9),
    "CyclicLR triangular2": lambda s, o: s.CyclicLR(
        o, [0.01, 0.02], 0.1, step_size_up=6, mode="triangular2", cycle_momentum=False
    ),
    "CyclicLR exp_range": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=6, mode="exp_range", gamma=0.97),
    "CyclicLR of a function": lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, 6, scale_fn=lambda k: 1 / (1 + k), scale_mode="iterations"
    ),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(o, patience=2, cooldown=3, min_lr=[1e-4, 1e-3], factor=0.3),
    "ReduceLROnPlateau up": lambda s, o: s.ReduceLROnPlateau(
        o, mode="max", patience=4, threshold=0.01, threshold_mode="abs"
    ),
    "SequentialLR": sequential,
    "SequentialLR of four": nested,
    "ChainedScheduler": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.1, 8), s.ExponentialLR(o, 0.95), s.StepLR(o, 9)]
    ),
}


def name_of(case: Descent) -> str:
    said = [case.name, *(f"{k}={v}" for k, v in case.settings.items())]
    said += [f"second {case.second}"] if case.second else []
    said += [f"clip {case.clip[0]} {case.clip[1]}"] if case.clip else []
    return " ".join(said)


OPTIMIZERS = {name_of(case): case for case in TABLE}
assert len(OPTIMIZERS) == len(TABLE)
SCHEDULED = {
    f"{schedule} with {name}": Descent(name, settings, {"lr": 0.04}, schedule)
    for schedule in SCHEDULES
    for name, settings in (("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 0.02}))
}

CLIPS = {
    **{f"norm {p} to {limit}": ("norm", (limit, p)) for p in (2.0, 1.0, 3.0, np.inf) for limit in (0.5, 1e3)},
    **{f"value {limit}": ("value", (limit,)) for limit in (0.3, 1e3)},
}


def clipped(library: Any, case: tuple[str, tuple[float, ...]], take: Given, dtype: Any, compiled: Any = None) -> Arrays:
    """The norm before, and the gradients afterwards."""
    kind, args = case
    shapes = {"matrix": (3, 4), "vector": (5,)}
    values = {
        name: cast(take(name, lambda rng, shape=shape: rng.standard_normal(shape)), dtype)
        for name, shape in shapes.items()
    }
    cells = [library.tensor(np.zeros_like(value), True) for value in values.values()]

    def step(given: list[Any]) -> Any:
        for cell, gradient in zip(cells, given, strict=True):
            cell.grad = gradient
        norm = getattr(library.nn.utils, f"clip_grad_{kind}_")(cells, *args)
        return norm, [cell.grad for cell in cells]

    gradients = [library.tensor(value, False) for value in values.values()]
    norm, found = (step if compiled is None else compiled(step))(gradients)
    results = {f"gradient.{name}": library.array(g).copy() for name, g in zip(shapes, found, strict=True)}
    return results if norm is None else {**results, "norm": library.array(norm)}


AVERAGES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "mean": lambda utils: {},
    "mean of buffers too": lambda utils: {"use_buffers": True},
    "exponential": lambda utils: {"avg_fn": utils.get_ema_avg_fn(0.9)},
    "exponential of buffers too": lambda utils: {"avg_fn": utils.get_ema_avg_fn(0.7), "use_buffers": True},
}


def averaged(library: Any, options: Callable[[Any], dict[str, Any]], take: Given, dtype: Any) -> Arrays:
    """The averages after each of five updates of a layer with running moments."""
    utils, nn = library.optim.swa_utils, library.nn
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = utils.AveragedModel(model, **options(utils))
    results = {}
    for k in range(5):
        values = {
            name: cast(take(f"{k}.{name}", lambda rng, v=v: rng.standard_normal(tuple(v.shape))), dtype)
            for name, v in model.state_dict().items()
            if "num" not in name
        }
        library.load(model, values)
        average.update_parameters(model)
        results |= {f"{k}.{n}": library.array(v).copy() for n, v in average.state_dict().items()}
    return results


INITIAL: dict[str, tuple[tuple[int, ...], tuple[Any, ...]]] = {
    "zeros_": ((2, 3), ()), "ones_": ((2, 3), ()), "constant_": ((2, 3), (0.3,)), "eye_": ((2, 3), ()), "eye_ of many rows": ((4, 2), ()),
    **{f"dirac_ {shape} {groups}": (shape, (groups,)) for groups in (1, 2) for shape in ((4, 2, 3), (4, 3, 3, 5), (2, 4, 1, 2, 3))},
}  # fmt: skip
GAINS = [("linear",), ("conv2d",), ("sigmoid",), ("tanh",), ("relu",), ("selu",), ("leaky_relu",), ("leaky_relu", 0.3)]


def initial(library: Any, case: tuple[str, tuple[tuple[int, ...], tuple[Any, ...]]], take: Given, dtype: Any) -> Arrays:
    """What is written."""
    name, (shape, args) = case
    cell = library.tensor(np.full(shape, 7.0, dtype), False)
    getattr(library.nn.init, name.split()[0])(cell, *args)
    return {"written": library.array(cell)}
