"""Imports go downwards only, at the top of the file."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "backlit"
FLOORS = {
    "core": 0, "ops": 1, "autodiff": 2, "functional": 3, "arrays": 4, "compiler": 5, "numpy": 5, "scipy": 6, "nn": 6, "optim": 7, "io": 7,
    "data": 8, "train": 9, "parallel": 9, "diagnose": 9, "inspector": 10, "cli": 11,
}  # fmt: skip
OPTIONAL = {
    "PIL",
    "matplotlib",
    "polars",
    "rich",
    "tensorboardX",
    "tokenizers",
}  # imported where they are used: importing backlit brings in none
ENGINE = {"numpy", "ml_dtypes", "llvmlite"}
FILES = sorted(p for p in SOURCE.rglob("*.py") if len(p.relative_to(SOURCE).parts) > 1)


def imports(tree: ast.AST):
    """Every import: (module, whether it is inside a function, whether for the type checker only)."""

    def visit(node: ast.AST, inside: bool, checking: bool):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((a.name, inside, checking) for a in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, "relative import"
                names = [a.name for a in child.names]
                whole = child.module or ""
                # `from backlit import nn` and `from backlit.core import tree` name modules
                deeper = [f"{whole}.{n}" for n in names] if whole.split(".")[0] == "backlit" else [whole]
                yield from ((m, inside, checking) for m in deeper)
            else:
                function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                yield from visit(child, inside or function, checking or only)

    return visit(tree, False, False)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_downwards(path):
    own = path.relative_to(SOURCE).parts[0]
    for module, inside, checking in imports(ast.parse(path.read_text(encoding="utf-8"))):
        parts = module.split(".")
        if parts[0] == "backlit":
            package = parts[1] if len(parts) > 1 else ""
            assert package in FLOORS, f"{module}: no package on a floor"
            assert package == own or FLOORS[package] < FLOORS[own] or checking, f"{own} imports {module}"
            assert not inside, f"{module} is imported inside a function"
        elif parts[0] not in sys.stdlib_module_names and not checking:
            assert not inside or parts[0] in OPTIONAL, f"{module} is imported inside a function"
            allowed = {"numpy", "ml_dtypes"} if own == "core" else ENGINE
            assert FLOORS[own] > 5 or parts[0] in allowed, f"{own} imports {module}"


def test_every_package_stands_on_a_floor():
    assert {p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists()} <= set(FLOORS)
