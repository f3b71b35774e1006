"""What the inspector is held to beside speed (`inspector.py`) and cost (`recording.py`), as a table with figures.

    python benchmarks/acceptance.py [--only 11,12,...] [--long]

Numbers are those of the demands. Where a demand is a test, the tests that look at it are run, and counted; `--long` adds
those that take longer (a wheel built without Node, Firefox, axe in every panel). The exit status counts demands that are not met.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np

ROOT = Path(__file__).parent.parent
for folder in ("inspector", "diagnose", "ops", "autodiff", "."):
    sys.path.insert(0, str(ROOT / "tests" / folder))

import models
import test_provenance
import test_recomputation

import backlit as bl
from backlit import nn
from backlit.core.tensor import Tensor
from backlit.diagnose.balance import balance
from backlit.diagnose.provenance import provenance
from backlit.diagnose.recording import RECOMPUTE
from backlit.diagnose.replay import Replay, backward

Told = tuple[bool, str]


def tests(*selected: str, pattern: str = "", slow: bool = False) -> tuple[int, list[str]]:
    """Runs tests in a process of their own; how many passed, and which did anything else, such as a skip with its reason."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        options = ["-q", "-n", "2", "-m", "slow" if slow else "not slow", f"--junitxml={report}"]
        if pattern:
            options += ["-k", pattern]
        files = [str(ROOT / "tests" / name) for name in selected]
        subprocess.run([sys.executable, "-m", "pytest", *options, *files], cwd=ROOT, capture_output=True, check=False)
        cases = list(ElementTree.parse(report).iter("testcase"))
    others = [_otherwise(case) for case in cases if list(case)]
    return len(cases) - len(others), others


def _otherwise(case: ElementTree.Element) -> str:
    what = case[0]
    return f"{case.get('name')} ({what.tag}{': ' + what.get('message', '') if what.tag == 'skipped' else ''})"


def told(found: tuple[int, list[str]], what: str) -> Told:
    passed, others = found
    return passed > 0 and not others, f"{passed} {what}" + (f"; NOT: {', '.join(others[:3])}" if others else "")


def bundle(long: bool) -> Told:
    built = ROOT / "src" / "backlit" / "inspector" / "_static"
    parts = [(built / name).read_bytes() for name in ("inspector.js", "inspector.css")]
    raw, small = (sum(map(len, p)) / 1000 for p in (parts, [gzip.compress(p, 9) for p in parts]))
    text = f"{raw:.0f} kB raw (900), {small:.0f} kB gzip (320)"
    if not long:
        return raw <= 900 and small <= 320, text
    fine, more = told(
        tests("inspector/test_elsewhere.py", pattern="wheel", slow=True),
        "wheel of at most 1.5 MB, built and used without Node",
    )
    return raw <= 900 and small <= 320 and fine, f"{text}; {more}"


def numbers(long: bool) -> Told:
    pattern = "test_numbers_on_the_screen_are_those_of_the_run or test_numbers_on_the_screen_are_those_of_the_recording"
    fine, text = told(
        tests("inspector/test_panels.py", "inspector/test_numbers.py", pattern=pattern),
        "runs of 500 numbers at 20 positions on S, M, G without a mismatch",
    )
    rules, more = told(
        tests("diagnose/test_rules.py", pattern="test_the_printed_rules_compute"),
        "samples of all ops whose printed rules compute what the rules compute",
    )
    return fine and rules, f"{text}; {more}"


def recordings(dtype: Any) -> list[bl.Recording]:
    """S, M, G, a residual net, random graphs."""
    found = [
        test_provenance.residual_network(dtype),
        *(test_provenance.random_graph(seed, dtype) for seed in range(100)),
    ]
    generator = np.random.default_rng(0)
    linear = lambda n, m: nn.Linear(n, m, dtype=dtype)
    mlp = nn.Sequential(linear(784, 256), nn.ReLU(), linear(256, 256), nn.ReLU(), linear(256, 10))
    with bl.record() as recording:
        nn.functional.cross_entropy(
            mlp(generator.standard_normal((64, 784)).astype(dtype)), generator.integers(0, 10, 64)
        ).backward()
    found.append(recording)
    if dtype == np.float32:
        found += [models.merge(), models.transformer(), models.deep()]
    return found


def sums(long: bool) -> Told:
    merges = wrong = 0
    for dtype in (np.float32, np.float64):
        for node in (n for r in recordings(dtype) for n in r.nodes if n.cotangent is not None):
            merges += len(node.contributions) > 1
            wrong += np.asarray(node.resummed()).tobytes() != np.asarray(node.cotangent).tobytes()
    return not wrong, f"{merges} merges and all other nodes: {wrong} sums with other bits"


def conservation(long: bool) -> Told:
    worst = {}
    for dtype in (np.float32, np.float64):
        parts = []
        for recording in recordings(dtype):
            for target in [n for n in recording.nodes if n.kind == "parameter" and n.cotangent is not None][:8]:
                found = provenance(recording, target)
                if not found.note:
                    parts.append(found.residual / (max(1.0, found.cancelled) if dtype == np.float32 else 1.0))
        worst[dtype] = max(parts), len(parts)
    merges, apart = 0, 0.0
    for recording in [
        test_provenance.residual_network(np.float64),
        *(test_provenance.random_graph(s, np.float64) for s in range(40)),
    ]:
        target = next(n for n in recording.nodes if n.kind == "parameter" and n.cotangent is not None)
        found, replay = provenance(recording, target), Replay()
        if found.note:
            continue
        square = float(np.vdot(target.cotangent, target.cotangent))
        for node, contribution, share in found.shares:
            if len(node.contributions) > 1 and node is not target:
                alone = backward(recording, {node: (Tensor(contribution.value), None)}, replay)
                expected = (
                    float(np.vdot(alone[target][0].numpy(), target.cotangent)) / square if target in alone else 0.0
                )
                merges, apart = merges + 1, max(apart, abs(share - expected) / max(1.0, abs(share)))
    (single, n), (double, m) = worst[np.float32], worst[np.float64]
    text = f"float64 {double:.1e} (1e-10) of {m}, float32 {single:.1e} x sum |share| (1e-4) of {n}; masked backward at {merges} merges {apart:.1e} (1e-9)"
    ratio = cost()
    return (
        double <= 1e-10 and single <= 1e-4 and apart <= 1e-9 and merges >= 50 and ratio <= 3,
        f"{text}; {ratio:.2f} forward passes (3)",
    )


def cost() -> float:
    """Provenance of the first weight of M, in forward passes."""
    generator = np.random.default_rng(0)
    mlp = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    x, y = generator.standard_normal((64, 784)).astype("f4"), generator.integers(0, 10, 64)
    with bl.record() as recording:
        nn.functional.cross_entropy(mlp(x), y).backward()
    of = next(n for n in recording.nodes if n.kind == "parameter")
    taken = []
    for f in (lambda: nn.functional.cross_entropy(mlp(x), y), lambda: provenance(recording, of)):
        times = []
        for _ in range(15):
            begin = time.perf_counter()
            f()
            times.append(time.perf_counter() - begin)
        taken.append(statistics.median(times[3:]))
    return taken[1] / taken[0]


def lamp(long: bool) -> Told:
    pattern = "wrong_derivative or dropped_contribution or missing_transpose or missing_sum or rules_of_ones_own"
    fine, text = told(
        tests("diagnose/test_balance.py", pattern=pattern), "sets of planted faults, the guilty node named in each"
    )
    lit = looked = 0
    for dtype in (np.float32, np.float64):
        for seed in range(100):
            found = balance(test_provenance.random_graph(seed, dtype), seed)
            lit, looked = lit + len(found.guilty) + len(found.merges), looked + 1
    false, more = told(tests("diagnose/test_balance.py", pattern="no_lamp_lights"), "sets of correct graphs")
    return fine and not lit and false, f"{text}; {lit} false lights on {looked} random graphs, {more}"


def memory(long: bool) -> Told:
    fine, text = told(
        tests("inspector/test_panels.py", "diagnose/test_recording.py", "diagnose/test_recomputation.py", "diagnose/test_checkpoints.py", pattern="peaks_at_the_engines_count or bytes_that_are_kept or bytes_and_counts or every_plan_costs"),
        "runs whose peak, kept bytes and counts of values computed again are the engine's, and so those of other checkpoints",
    )  # fmt: skip
    peaks = []
    for every in (None, 1, 2, 3):
        with bl.record() as recording:
            test_recomputation.run(test_recomputation.layers(), every).backward()
        again = sum(e.kind is RECOMPUTE for e in recording.events)
        peaks.append(f"{every or 'none'}: {recording.peak_bytes} B, {again} again")
    return fine, f"{text}; checkpoints of k blocks: {'; '.join(peaks)}"


def offline(long: bool) -> Told:
    found = tests(
        "inspector/test_page.py",
        "inspector/test_panels.py",
        "inspector/test_tours.py",
        "inspector/test_programs.py",
        pattern="opened or paint or console or browser or page",
        slow=False,
    )
    text = "browser tests of exports and tours, each failing on a request elsewhere or a word on the console"
    if not long:
        return told(found, text)
    fine, more = told(
        tests("inspector/test_elsewhere.py", pattern="firefox", slow=True), "set of exports opened and moved in Firefox"
    )
    first, before = told(found, text)
    return fine and first, f"{before}; {more}"


def access(long: bool) -> Told:
    fine, text = told(
        tests("inspector/test_access.py", "inspector/test_panels.py", pattern="access or axe or keyboard or tabs"),
        "tests: axe in both themes on graph and panels, keyboard alone, reduced motion",
    )
    if not long:
        return fine, text
    rest, more = told(
        tests("inspector/test_panels.py", pattern="axe", slow=True),
        "of axe in all that panels fold away, and in a tour",
    )
    return fine and rest, f"{text}; {more}"


def tours(long: bool) -> Told:
    return told(tests("inspector/test_tours.py"), "tests of the six tours, in the browser and against closed forms")


def notebook(long: bool) -> Told:
    size = len(models.perceptron()._repr_html_()) / 1e6
    fine, text = told(tests("inspector/test_notebook.py"), "tests of the frame in a browser")
    return fine and size <= 1.5, f"a display of M adds {size:.2f} MB (1.5); {text}"


DEMANDS: dict[str, tuple[str, Callable[[bool], Told]]] = {
    "11": ("bundle", bundle),
    "12": ("truth of numbers", numbers),
    "13": ("sums", sums),
    "14": ("conservation", conservation),
    "15": ("lamp", lamp),
    "16": ("memory", memory),
    "19": ("offline", offline),
    "20": ("access", access),
    "21": ("tours", tours),
    "22": ("notebook", notebook),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(DEMANDS))
    parser.add_argument("--long", action="store_true")
    asked: SimpleNamespace = parser.parse_args(namespace=SimpleNamespace())
    unmet = 0
    for name in asked.only.split(","):
        what, look = DEMANDS[name]
        begin = time.perf_counter()
        fine, text = look(asked.long)
        unmet += not fine
        print(f"{name} {what}{'' if fine else '  NOT MET'}: {text}   [{time.perf_counter() - begin:.0f} s]", flush=True)
    return unmet


if __name__ == "__main__":
    sys.exit(main())
