"""Arguments, their order and their defaults are PyTorch's, as they were recorded."""

from __future__ import annotations

import inspect

import pytest
from reference_signatures import NAMESPACES, RECORDED, names_of, of_pytorch, parts

# given up in PyTorch, of its machines, or of how its loops are made
NOT_OURS = {
    "size_average", "reduce", "device", "dtype", "_stacklevel", "out", "foreach", "capturable", "differentiable", "fused",
    "min_value", "max_value", "compute_mode", "multi_avg_fn",
}  # fmt: skip
# by keyword alone
ADDED = {"generator", "dtype", "axis", "keepdims", "maximize", "rotary", "cache"}
KEYS = sorted(key for key, found in RECORDED.items() if "." in key and found is not None)


def ours(key):
    space, name, *rest = key.split(".")
    found = getattr(NAMESPACES[space][0], name)
    return parts(inspect.signature(getattr(found, rest[0]) if rest else found).parameters.values())


KEYS.remove("optim.Optimizer")  # nobody calls it


def without(pairs, names):
    return [pair for pair in pairs if pair[0] not in names]


@pytest.mark.parametrize("key", KEYS)
def test_arguments_and_defaults(key):
    positional, keywords = (without(part, NOT_OURS) for part in RECORDED[key])
    found, others = ours(key)
    named = {name for name, *_ in positional + keywords}
    others = without(others, ADDED - named)
    if key in ("nn.Parameter", "nn.Buffer"):  # PyTorch's may be empty
        positional[0].pop()
    if key.startswith("optim."):  # what stands behind arguments that are not ours is by keyword alone
        keywords += positional[len(found) :]
        positional = positional[: len(found)]
    assert without(found, NOT_OURS) == positional
    assert sorted(others) == sorted(keywords)


def test_all_names_that_both_have_are_recorded():
    known = {key for key in RECORDED if key.count(".") == 1} - {"functional.cdist"}
    assert known == {f"{space}.{name}" for space in NAMESPACES for name in of_pytorch(space, names_of(space))}
