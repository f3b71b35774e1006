"""The largest differences from PyTorch, by file of references: `python tests/references/report.py`."""

from __future__ import annotations

import backlit_networks
import numpy as np
import reference_functions
from recorded import DTYPES, FOLDER, Backlit, difference, read, taken
from reference_files import compute
from reference_layers import FAMILIES
from reference_optim import AVERAGES, CLIPS, INITIAL, OPTIMIZERS, SCHEDULED, averaged, clipped, descend, initial
from reference_run import run

import backlit as bl


def network(library, file, take, dtype):
    def load(model):
        model.load_state_dict(bl.load(FOLDER / f"{file}.safetensors"))

    return compute(library, backlit_networks, load, file, take, dtype)


def main() -> None:
    """Prints a row for each file."""
    files = {**{name: (run, cases) for name, cases in {**FAMILIES, **reference_functions.FILES}.items()}}
    files |= {"optimizers": (descend, OPTIMIZERS), "schedules": (descend, SCHEDULED)}
    files["networks"] = (network, {name: name for name in read("networks")[2]})
    files["clipping"], files["averages"] = (clipped, CLIPS), (averaged, AVERAGES)
    files["initial values"] = (initial, {name: (name, case) for name, case in INITIAL.items()})
    print("| | cases | numbers | float64 | float32 |\n|---|---|---|---|---|")
    for file, (f, cases) in files.items():
        recorded = read(file if file not in ("clipping", "averages", "initial values") else "others")[2]
        worst, numbers = [], 0
        for dtype in DTYPES:
            found = []
            bl.set_default_dtype(dtype)
            for name, case in cases.items():
                wanted = recorded[name][dtype]
                got = f(Backlit, case, taken(recorded[name]), np.dtype(dtype))
                found.append((*difference({k: v for k, v in got.items() if k in wanted}, wanted), name))
                numbers += sum(v.size for v in wanted.values()) if dtype == "float64" else 0
            worst.append(max(found))
        bl.set_default_dtype("float32")
        print(f"| {file} | {len(cases)} | {numbers:,} | {worst[0][0]:.1e} | {worst[1][0]:.1e} |")


if __name__ == "__main__":
    main()
