"""Where classes and functions with arguments of PyTorch's are, and how a default is written down."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from backlit import functional, nn, optim
from backlit.optim import lr_scheduler, swa_utils

NAMESPACES: dict[str, tuple[Any, str]] = {
    "nn": (nn, "torch.nn"), "functional": (functional, "torch.nn.functional"), "init": (nn.init, "torch.nn.init"),
    "utils": (nn.utils, "torch.nn.utils"), "optim": (optim, "torch.optim"), "lr_scheduler": (lr_scheduler, "torch.optim.lr_scheduler"),
    "swa_utils": (swa_utils, "torch.optim.swa_utils"),
}  # fmt: skip


def names_of(space: str) -> list[str]:
    """The public names of backlit there, modules left out."""
    module = NAMESPACES[space][0]
    names = getattr(module, "__all__", None)
    if names is None:
        names = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__ and n[0] != "_"]
    return sorted(n for n in names if not inspect.ismodule(getattr(module, n)))


RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "signatures.json").read_text(encoding="utf-8"))


def of_pytorch(space: str, names: Iterable[str]) -> set[str]:
    """Those of `names` that PyTorch has as well."""
    return set(names) & set(RECORDED[space])


def told(default: Any) -> Any:
    """A default as JSON holds it."""
    if isinstance(default, tuple):
        return [told(x) for x in default]
    if default is None or isinstance(default, (bool, int, float, str)):
        return default
    return getattr(default, "__name__", type(default).__name__)


def parts(parameters: Any) -> list[list[Any]]:
    """The arguments by position and those by keyword alone, each a name and, where there is one, a default."""
    found: list[list[Any]] = [[], []]
    for p in parameters:
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            found[p.kind is p.KEYWORD_ONLY].append([p.name] if p.default is p.empty else [p.name, told(p.default)])
    return found
