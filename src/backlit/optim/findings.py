"""The step audit: mistakes of a training step that raise nothing, each named with the way out."""

from __future__ import annotations

import types
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backlit.core.graph import Node
from backlit.core.tensor import Tensor
from backlit.nn.module import Module

if TYPE_CHECKING:
    from backlit.optim.base import Optimizer

SHOWN = 6  # names in a message; the finding has all


class AuditWarning(UserWarning):
    """A training step does something that is hardly meant; the message names it and the way out."""


@dataclass(frozen=True)
class Finding:
    """One mistake: its kind, the parameters or modules it is about, and a sentence with the way out.

    `kind` is "unreached", "missing", "twice", "stale", "eval" (training in eval mode) or "train" (evaluation in training mode).
    """

    kind: str
    names: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        return self.message


def audit(model: Module, *optimizers: Optimizer, loss: Tensor | None = None) -> list[Finding]:
    """What is wrong with a training step of `model`: a list of findings, empty where all is well. Changes nothing.

    Call it with the loss before `backward`, whose graph then says which parameters it reaches, or without between
    `backward` and the optimizer's `step`, where the gradients say so. Found are parameters that the loss does not reach,
    those that no optimizer has or two have, and a model in eval mode. Without optimizers it judges an evaluation: found
    is what acts in it as in training. A walk over the graph and the parameters; nothing is computed.

    Every optimizer looks at its own first two steps in this way, and warns with an `AuditWarning`: a training loop, by hand
    or a trainer's, need not call this. The gradients of an earlier step that were not reset are found only there.

    Example:
      for finding in backlit.audit(model, optimizer, loss=loss):
          print(finding)
    """
    if not optimizers:
        return in_training_mode(model)
    named = {id(cell): name for name, cell in model.named_parameters()}
    reached = reached_by(loss) if loss is not None else None
    own = [cell for cell in model.parameters() if cell.requires_grad]
    theirs = [(optimizer, cells_of(optimizer)) for optimizer in optimizers]
    held = {id(cell) for _, cells in theirs for cell in cells}
    every = list({id(cell): cell for cell in (*own, *(c for _, cells in theirs for c in cells))}.values())
    names = named_by(every, named)
    known = {id(c) for c in every if (c._grad is not None if reached is None else id(c) in reached)}
    whose = " and ".join(type(optimizer).__name__ for optimizer in optimizers)
    found = unreached([c for c in every if c.requires_grad and id(c) not in known], every, names, whose)
    found += missing([c for c in own if id(c) in known and id(c) not in held], names)
    for k, (one, cells) in enumerate(theirs):
        for other, others in theirs[:k]:
            both = {id(c) for c in others}
            found += twice([c for c in cells if id(c) in both], names, one, other)
    return found + in_eval_mode([model])


def cells_of(optimizer: Optimizer) -> list[Tensor]:
    """The parameters over all groups."""
    return [cell for group in optimizer.param_groups for cell in group["params"]]


def reached_by(loss: Tensor) -> set[int]:
    """The ids of the leaves that a recorded value was computed from."""
    found: set[int] = set()
    waiting, seen = [loss.node] if isinstance(loss.node, Node) else [], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.extra is not None and node.extra.cell is not None:
            found.add(id(node.extra.cell()))
        waiting += [node.up] if isinstance(node.up, Node) else list(node.up or ())
    return found


def named_by(cells: Iterable[Tensor], known: dict[int, str]) -> dict[int, str]:
    """A name for each parameter: that of the modules, else its position."""
    return {
        id(cell): known.get(id(cell), f"parameter {k} ({cell.dtype}{list(cell.shape)})") for k, cell in enumerate(cells)
    }


def _list(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _about(cells: Sequence[Tensor], names: dict[int, str]) -> tuple[tuple[str, ...], str]:
    found = tuple(names[id(cell)] for cell in cells)
    return found, _list(found)


def unreached(
    cells: Sequence[Tensor],
    every: Sequence[Tensor],
    names: dict[int, str],
    whose: str,
    gone: AbstractSet[int] = frozenset(),
) -> list[Finding]:
    """Of parameters without a gradient; `gone` are the ids of those that no module has any more."""
    if not cells:
        return []
    found, shown = _about(cells, names)
    if len(cells) == sum(cell.requires_grad for cell in every):
        text = (
            f"no parameter of {whose} has a gradient at its step: call zero_grad(), then backward() of a loss that is "
            "computed from them, then step()"
        )
    elif all(id(cell) in gone for cell in cells):
        text = (
            f"{whose} has {shown} of a layer that no model has any more: it was replaced after the optimizer was made; "
            "make the optimizer after the model is complete"
        )
    else:
        text = (
            f"the loss does not reach {shown}: use it in forward, or look for a detach, no_grad or integer on the way; "
            "where it is not to be trained, requires_grad_(False)"
        )
    return [Finding("unreached", found, f"audit: {text}")]


def missing(cells: Sequence[Tensor], names: dict[int, str]) -> list[Finding]:
    """Of parameters that have a gradient and no optimizer."""
    if not cells:
        return []
    found, shown = _about(cells, names)
    text = (
        f"audit: no optimizer has {shown}, though the loss reaches it: give it to one (all are model.parameters()), or "
        "freeze it with requires_grad_(False)"
    )
    return [Finding("missing", found, text)]


def twice(cells: Sequence[Tensor], names: dict[int, str], one: Optimizer, other: Optimizer) -> list[Finding]:
    """Of parameters that two optimizers have."""
    if not cells:
        return []
    found, shown = _about(cells, names)
    kinds = type(one).__name__, type(other).__name__
    which = f"two optimizers {kinds[0]}" if kinds[0] == kinds[1] else f"{kinds[0]} and {kinds[1]}"
    text = f"audit: {which} both step along the same gradient of {shown}: give each parameter to one optimizer"
    return [Finding("twice", found, text)]


def stale(cells: Sequence[Tensor], names: dict[int, str], whose: str) -> list[Finding]:
    """Of parameters whose gradient holds one that a step was made along before."""
    if not cells:
        return []
    found, shown = _about(cells, names)
    text = (
        f"audit: {whose} steps along gradients of {shown} that still hold those of the step before: call zero_grad() "
        "before backward(), once for each step; to add gradients up over batches, reset them after the step"
    )
    return [Finding("stale", found, text)]


def in_eval_mode(models: Iterable[Module]) -> list[Finding]:
    """Of models all of which is in eval mode and acts otherwise than in training."""
    found: list[Finding] = []
    for model in models:
        modules = list(model.named_modules())
        if any(module.training for _, module in modules):
            continue
        names = tuple(_path(path, module) for path, module in modules if depends_on_mode(module))
        if names:
            text = (
                f"audit: {type(model).__name__} trains in eval mode, in which {_acting(names)} otherwise: call train()"
            )
            found.append(Finding("eval", names, text))
    return found


def in_training_mode(model: Module) -> list[Finding]:
    """Of what in a model acts as in training."""
    names = tuple(_path(p, m) for p, m in model.named_modules() if m.training and depends_on_mode(m))
    if not names:
        return []
    text = (
        f"audit: {type(model).__name__} is evaluated in training mode, in which {_acting(names)} otherwise: call eval() "
        "before, and train() afterwards"
    )
    return [Finding("train", names, text)]


def _acting(names: Sequence[str]) -> str:
    return f"{_list(names)} {'acts' if len(names) == 1 else 'act'}"


def _path(path: str, module: Module) -> str:
    return f"{path} ({type(module).__name__})" if path else type(module).__name__


def depends_on_mode(module: Module) -> bool:
    """Whether a module looks at `training`, with settings with which that makes a difference."""
    settings = vars(module)
    for name in ("p", "dropout"):
        if isinstance(settings.get(name), (int, float)) and not settings[name]:
            return False
    if settings.get("track_running_stats") is False:
        return False
    for kind in type(module).__mro__:
        if kind is Module:
            return False
        functions: list[Any] = [f.fget if isinstance(f, property) else f for f in vars(kind).values()]
        if any("training" in f.__code__.co_names for f in functions if isinstance(f, types.FunctionType)):
            return True
    return False
