"""Runs the examples one after another, each in a process of its own, and writes what they reached into the documentation.

    python examples/run_all.py --data DIR [NAME ...]

Results go into examples/results.json, where those of examples that are not run stay; the tables in docs/examples.md and
README.md are made of it.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import shown

HERE = Path(__file__).parent
RESULTS, PAGES = HERE / "results.json", (HERE.parent / "docs" / "examples.md", HERE.parent / "README.md")
BEGIN, END = "<!-- results -->\n\n", "\n<!-- end of results -->"
ORDER = (
    "logistic_regression", "penguins", "mpg", "mnist_mlp", "mnist_cnn", "cifar_resnet", "char_gpt", "char_lstm", "names",
    "vae", "gan", "pendulum", "matrix_factorisation", "gaussian_process",
)  # fmt: skip


def run(name: str, arguments: list[str]) -> dict[str, Any]:
    """What the example wrote to its `--json`."""
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        subprocess.run([sys.executable, HERE / f"{name}.py", "--json", path, *arguments], check=True)
        return {"machine": machine(), "load": load, **json.loads(path.read_text(encoding="utf-8"))}


def machine() -> str:
    """Cores and kind of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores, {model or platform.processor() or platform.machine()}"


def table(results: dict[str, Any]) -> str:
    """A row for each example: its name, what it reached, epochs, seconds, and the ops that had no native code."""
    rows = ["| example | reached | epochs | seconds | ops without native code |", "|---|---|---:|---:|---|"]
    for name in ORDER:
        if name in results:
            found = results[name]
            reached = ", ".join(f"{what} {shown(value)}" for what, value in found["numbers"].items())
            fallen = ", ".join(f"`{op}` {n}" for op, n in found["fallbacks"].items()) or "none"
            rows.append(f"| `{name}` | {reached} | {found['epochs']} | {found['seconds']:.1f} | {fallen} |")
    machines = sorted({results[name]["machine"] for name in results})
    loads = [results[name]["load"] for name in results if results[name]["load"] is not None]
    busy = f"; the load average before each run was {max(loads):.1f} at most" if loads else ""
    return "\n".join([*rows, "", f"On {'; '.join(machines)}{busy}.", ""])


def written(page: str, results: dict[str, Any]) -> str:
    """The page with the table in its place."""
    head, _, rest = page.partition(BEGIN)
    return head + BEGIN + table(results) + END + rest.partition(END)[2]


def title(name: str) -> str:
    """The first sentence of the example."""
    return str(ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8")))).partition("\n")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="examples to run; all unless given")
    parser.add_argument(
        "--data", default=os.environ.get("BACKLIT_DATA"), help="folder of the data files, or $BACKLIT_DATA"
    )
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(ORDER))
    if unknown or not given.data:
        parser.error(f"there is no example {', '.join(unknown)}" if unknown else "give the data folder with --data DIR")
    for name in given.names or ORDER:
        print(f"\n== {name}: {title(name)}", flush=True)
        results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        results[name] = run(name, ["--data", given.data])
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        for page in PAGES:
            page.write_text(written(page.read_text(encoding="utf-8"), results), encoding="utf-8")
    print(f"\n{table(results)}")


if __name__ == "__main__":
    main()
