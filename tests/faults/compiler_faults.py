"""Faults planted in the compiler's source, one at a time, and which test notices each.

    python tests/faults/compiler_faults.py                 all of them; some minutes
    python tests/faults/compiler_faults.py stride casts    those whose names contain a word

Each is a text of a source file with another in its place, in a copy of the package; the tests of the compiler then run until
the first fails. A fault that nobody notices is a test that is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
COMPILER = Path("src", "backlit", "compiler")
TESTS = (
    "test_native", "test_ops_compiled", "test_product", "test_instruction_sets", "test_fence", "test_random_compiled", "test_math",
    "test_random_steps", "test_threads", "test_shared_loops", "test_short_rows", "test_chains", "test_regions", "test_passes", "test_memory", "test_compile", "test_compile_steps",
    "test_state", "test_picks", "test_before", "test_loop_passes",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """`old` in a file of the compiler becomes `new`."""

    name: str
    file: str
    old: str
    new: str


FAULTS = [
    Fault("negative places of a gather not counted from the end", "llvm/nest.py", '        if dtype.kind == "i":\n            below', '        if False:\n            below'),
    Fault("negative places of a scatter not counted from the end", "llvm/scatter.py", '        if dtype.kind == "i":', "        if False:"),
    Fault("last of ties", "passes/widen.py", "reduce.min(numbered, axis=at)", "reduce.max(ew.where(hit, numbered, -1), axis=at)"),
    Fault("extremes not at NaN", "passes/widen.py", "hit = ew.logical_or(hit, ew.not_equal(x, x))", "pass"),
    Fault("indices not looked at", "native.py", "if self._flag[0] == OUTSIDE:  # by", "if False:  # by"),
    Fault("indices looked at after the state is written", "native.py", "                    before[number] |= first", "                    pass"),
    Fault("the way into a program does not look at indices", "llvm/entry.py", 'w.expect(w.same(w.read(flag, 0, "i8"), "0", "i8"))', "pass"),
    Fault("bound of indices one too high", "passes/bounds.py", "ew.greater_equal(x, high)", "ew.greater(x, high)"),
    Fault("bound of indices one too low", "passes/bounds.py", "ew.less(x, low)", "ew.less(x, low - 1)"),
    Fault("only the last steps of a loop looked at", "passes/bounds.py", "reduce.max(x, axis=(0,))", "reduce.min(x, axis=(0,))"),
    Fault("remainders thought to reach their divisor", "passes/bounds.py", "return 0, given[1][1] - 1", "return 0, given[1][1]"),
    Fault("the last of repeated places only", "llvm/scatter.py", "        if self.base is None:\n            value", "        if False:\n            value"),
    Fault("a row more than are to be done", "llvm/scatter.py", "icmp ult i64 {off}", "icmp ule i64 {off}"),
    Fault("half of ties of bfloat16 up", "llvm/conversion.py", '"add", bits, 0x7FFF', '"add", bits, 0x8000'),
    Fault("half of ties of float16 up", "llvm/conversion.py", "0xFFF - (112 << 23)", "0x1000 - (112 << 23)"),
    Fault("doubles rounded twice on the way to halves", "llvm/conversion.py", "x = _to_odd(w, x)", "x = convert(w, x, dtype, _SINGLE)"),
    Fault("a quotient that is one too large", "llvm/division.py", "rest = v.select(over,", "rest = v.select(v.compare('une', rest, rest),"),
    Fault("float integers of the wrong side", "llvm/conversion.py", "fcmp {'ogt' if exact else 'oge'}", "fcmp {'oge' if exact else 'ogt'}"),
    Fault("stride of the wrong axis of a joined group", "llvm/order.py", "return strides[self.groups[loop][-1]]", "return strides[self.groups[loop][0]]"),
    Fault("dropped guard", "llvm/loops.py", "if not (g.low <= low and high <= g.high):", "if False:"),
    Fault("loops not cut at guards", "llvm/maps.py", "places = [0, *sorted(c for c in cuts if 0 < c < n), n]", "places = [0, n]"),
    Fault("known tail mask one lane too long", "llvm/writer.py", "f\"i1 {str(lane < count).lower()}\"", "f\"i1 {str(lane <= count).lower()}\""),
    Fault("computed tail mask one lane too long", "llvm/writer.py", "icmp slt {self.type('i64')} {lanes}", "icmp sle {self.type('i64')} {lanes}"),
    Fault("masked loads read whole vectors", "llvm/writer.py", "        typed = self.type(stored)\n        if mask is None:\n            value = self.new(f\"load", "        typed = self.type(stored)\n        if True:\n            value = self.new(f\"load"),
    Fault("fused sum of the wrong operand", "llvm/totals.py", "multiply_add(w, scalar, a, b, total,", "multiply_add(w, scalar, a, a, total,"),
    Fault("largest of products taken for a sum", "llvm/nest.py", "if fused and is_sum and made is not None", "if fused and made is not None"),
    Fault("sums begin with -0.0", "llvm/totals.py", "            return scalar, 0  #", "            return scalar, -0.0  #"),
    Fault("largest begins with 0", "llvm/totals.py", "return scalar, -math.inf if r.how", "return scalar, 0.0 if r.how"),
    Fault("NaN loses against a number", "llvm/values.py", 'w.new(f"fcmp uno {typed} {a}, {a}")', 'w.new(f"fcmp uno {typed} {b}, {b}")'),
    Fault("wrong cast of signed integers to floats", "llvm/conversion.py", "{'sitofp' if dtype.kind == 'i' else 'uitofp'}", "{'uitofp' if dtype.kind == 'i' else 'uitofp'}"),
    Fault("wrong cast of signed integers to wider ones", "llvm/conversion.py", "{'sext' if dtype.kind == 'i' else 'zext'}", "{'zext' if dtype.kind == 'i' else 'zext'}"),
    Fault("NaN is cast to false", "llvm/conversion.py", 'f"fcmp une {a} {x}, {zero}"', 'f"fcmp one {a} {x}, {zero}"'),
    Fault("unsigned integers compared as signed", "llvm/values.py", 'sign = "" if integer in ("eq", "ne") else "s" if dtype.kind == "i" else "u"', 'sign = "" if integer in ("eq", "ne") else "s"'),
    Fault("guard of a reversed pad one short", "views.py", "(offset - n) // s + 1, offset // s + 1", "(offset - n) // s + 2, offset // s + 1"),
    Fault("slice of a slice loses its start", "views.py", "start + self.offset * step", "start"),
    Fault("broadcast lined up at the wrong end", "views.py", "lead = len(at) - len(shape)", "lead = 0"),
    Fault("state written over before all have read it", "native.py", "                        before[last[v]].add(number)", "                        pass"),
    Fault("state written over while neighbours need it", "work.py", "(a.offset, a.strides, a.index) == (stores[0].offset, stores[0].strides, -1) for a in loads", "True for a in loads"),
    Fault("state written over that is returned too", "native.py", "handed[root] > 1 or x in handed", "False"),
    Fault("shared array written over", "llvm/entry.py", "                w.expect(w.same(w.read(value, 0, \"i64\"), \"1\", \"i64\"))\n", ""),
    Fault("live range ends too early", "native.py", "                    last[v] = number", "                    last.setdefault(v, number)"),
    Fault("kernels of other reductions taken for equal", "builder.py", "found = (key, _signature(nest))", "found = (None, _signature(nest))"),
    Fault("last chunk left out", "llvm/runtime.py", "  %rest.more = sub i64 %rest.up, 1\n", "  %rest.more = sub i64 %rest.up, %small\n"),
    Fault("barrier dropped", "llvm/runtime.py", "  %ready = icmp eq i32 %left, 0", "  %ready = icmp sge i32 %left, 0"),
    Fault("threads of a loop body share one scratch", "nested.py", 'ptr {scratch}, i64 {self.stride}"', 'ptr {scratch}, i64 0"'),
    Fault("chunk that runs beyond its end", "llvm/runtime.py", "call i64 @llvm.smin.i64(i64 %up, i64 %units)", "call i64 @llvm.smax.i64(i64 %up, i64 %units)"),
    Fault("lanes of neighbouring rows joined in another order", "llvm/totals.py", "for p in range(2 * parts) for k in range(half)]", "for p in reversed(range(2 * parts)) for k in range(half)]"),
    Fault("rows together take the first row's values", "llvm/along_rows.py", "todo = own if r else levels", "todo = {} if r else levels"),
    Fault("last block of a long sum left out", "llvm/along_rows.py", 'last = w.div(w.add("%high", rows - 1), rows)', 'last = w.div("%high", rows)'),
    Fault("padding inside a reduction taken for what it holds", "schedule.py", '(guarded or picked) and e.op.name == "pad"', "False"),
    Fault("transposed product in the wrong order", "passes/transposes.py", "(permuted(y, swapped), permuted(x, swapped))", "(permuted(x, swapped), permuted(y, swapped))"),
    Fault("x - (-0.0) taken for x", "passes/algebra.py", "return first if not _negative_zero(e.inputs[1]) else e", "return first"),
    Fault("equal equations kept apart", "passes/local.py", "self._share(found) if found.__class__ is Eqn else found", "found"),
    Fault("equal constants kept apart", "passes/local.py", "self._share.constant(found, self._fold.consts[found]) if made else found", "found"),
    Fault("equations of other parameters taken for equal", "passes/cse.py", 'key = (e.op.name, named, repr(e.params) if e.params else "")', "key = (e.op.name, named)"),
    Fault("infinite largest element subtracted", "passes/expand.py", "high = ew.where(finite, high, 0.0)", "high = ew.where(finite, high, high)"),
    Fault("tile stores whole vectors at the edge", "llvm/tile.py", "if v == self.vectors - 1 and self.last < self.lanes else None", "if False else None"),
    Fault("packing turns squares into the wrong rows", "llvm/packing.py", "return [shuffled(a, b, [0, 2]), shuffled(a, b, [1, 3])]", "return [shuffled(a, b, [0, 2]), shuffled(a, b, [0, 3])]"),
    Fault("exp scaled twice by the same half", "llvm/arithmetic.py", "return self.mul(self.mul(x, self.power(half)), self.power(rest))", "return self.mul(self.mul(x, self.power(half)), self.power(half))"),
    Fault("exp not limited from below", "llvm/math.py", 'x = v.limited(v.limited(x, "olt", v.f.lowest), "ogt", v.f.highest)', 'x = v.limited(x, "ogt", v.f.highest)'),
    Fault("sine of large arguments off by a turn's quarter", "llvm/reduction.py", "{1 << 189}", "{1 << 190}"),
    Fault("short reduction of sine", "llvm/trigonometry.py", "for part in _HALF_PI[v.kind]:", "for part in _HALF_PI[v.kind][:2]:"),
    Fault("tangent without its sign in odd quadrants", "llvm/trigonometry.py", "v.select(odd, v.neg(s), c)", "v.select(odd, s, c)"),
    Fault("angles to the left of the origin not turned", "llvm/inverse.py", 'left = v.compare("olt", v.call("copysign", 1.0, x), 0.0)', 'left = v.compare("olt", x, 0.0)'),
    Fault("cube root without its last step", "llvm/roots.py", "y = v.add(y, v.div(left, v.mul(square, 3.0)))", "y = v.add(y, 0.0)"),
    Fault("length without scaling", "llvm/roots.py", "back = v.neg(k)", "back = v.mul(k, 0.0)"),
    Fault("distance of logaddexp rounded", "llvm/logarithm.py", "v.fma(v.neg(e), lost, e)", "e"),
    Fault("logit of a rounded quotient", "llvm/logarithm.py", "f = v.add(v.sub(m, 1.0), v.scaled(v.div(rest, below), v.neg(k)))", "f = v.sub(m, 1.0)"),
    Fault("hyperbolic sine without its polynomial", "llvm/hyperbolic.py", 'v.compare("olt", v.call("fabs", x), 1.0)', 'v.compare("olt", v.call("fabs", x), 0.0)'),
    Fault("lanes of functions out of line mixed up", "llvm/lanes.py", "insertelement {vector} %so_far, {scalar} %found, i32 %k", "insertelement {vector} %so_far, {scalar} %found, i32 0"),
    Fault("next number the other way", "llvm/numbers.py", 'outwards = v.logic("xor", v.compare("olt", x, y)', 'outwards = v.logic("xor", v.compare("ogt", x, y)'),
    Fault("shift of the wrong kind", "llvm/values.py", '"ashr" if dtype.kind == "i" else "lshr"', '"lshr"'),
    Fault("product at a row's end without its column", "llvm/maps.py", "index: dict[int, Index] = {**dict(enumerate(position)), last: column}", "index: dict[int, Index] = {**dict(enumerate(position)), last: 0}"),
    Fault("kernels chained that touch each other's shares", "chains.py", "place in written and place in its and slot not in a.kernel.aligned", "False"),
    Fault("chains that begin alike have one name", "chains.py", "repr((names, slots, stretch))", "repr(names[:1])"),
    Fault("chains that wait for each other kept", "chains.py", "        if not stuck:", "        if True:"),
    Fault("masked store of one narrow lane left to LLVM", "llvm/writer.py", "lanes[0] if len(lanes) == 1 else None", "None"),
    Fault("shares taken for their own where they overlap", "llvm/nest_kernel.py", "0 <= offset and offset + sum(inside) < along", "True"),
    Fault("known number of another dtype", "passes/fold.py", "a.aval.dtype == dtype else a", "True else a"),
    Fault("joined arrays in the wrong order", "passes/expand.py", "padded if joined is None else ew.where(linear.pad(_true(xs[k].shape), width=width), padded, joined)", "padded if joined is None else ew.where(linear.pad(_true(xs[k].shape), width=width), joined, padded)"),
    Fault("random counter not advanced", "trace.py", "= (generator, key, counter + np.uint64(blocks)", "= (generator, key, counter"),
    Fault("rows of the first tile read for all tiles", "llvm/product.py", "w.mul(w.sub(self._row(w, t.i), first_row), cut.tile.a_row)", "w.mul(0, cut.tile.a_row)"),
    Fault("columns of the first panel computed for all panels", "llvm/product.py", "column = self._column(w, p.i)\n            target", "column = self._column(w, first)\n            target"),
    Fault("merged rows computed of the first entry", "llvm/computed.py", "outer.append(w.div(row, n))", "outer.append(0)"),
    Fault("room for one block of computed rows too little", "llvm/product.py", "self.packed_a = count * cut.pitch + line", "self.packed_a = line"),
    Fault("state written over that is read before a product", "builder.py", "operands=found", "operands=()"),
    Fault("stretches of another length where rows are computed", "llvm/plan.py", "    if k > most:", "    most = 256 if sizes.computed[0] else most\n    if k > most:"),
    Fault("values computed before a product that others read too", "schedule.py", "self.n_readers[v] > 1 or v in self.kept", "v in self.kept"),
    Fault("results moved into a branch that are returned too", "passes/sink.py", "readers[v] != {k}", "readers[v] - {-1} != {k}"),
    Fault("what every branch reads moved into them", "passes/sink.py", "    if all(reading):", "    if False:"),
    Fault("one of two conditions enough", "passes/algebra.py", 'both.op.name == "logical_and"', 'both.op.name == "logical_or"'),
    Fault("any taken for more than any number", "passes/expand.py", "isinstance(least.value, bool) or least.value != 0", "isinstance(least.value, bool)"),
]  # fmt: skip


def text(fault: Fault, part: Path = COMPILER) -> str:
    """The file of a fault."""
    return (ROOT / part / fault.file).read_text(encoding="utf-8")


def compiler_tests() -> list[Path]:
    """Those that are run for a fault of the compiler."""
    return [ROOT / "tests" / "compiler" / f"{name}.py" for name in TESTS]


def noticed_by(fault: Fault, folder: Path, part: Path = COMPILER, tests: Sequence[Path] = ()) -> str:
    """The first test that fails with the fault in place, or an empty string."""
    package = folder / "src"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "src", package, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / part / fault.file
    path.write_text(text(fault, part).replace(fault.old, fault.new), encoding="utf-8")
    files = [str(path) for path in tests or compiler_tests() if path.exists()]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *files]
    environment = {**os.environ, "PYTHONPATH": str(package), "FUZZ_PROGRAMS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=900
        )
    except subprocess.TimeoutExpired:
        return "no end"
    if run.returncode < 0:
        return f"a crash (signal {-run.returncode})"
    lines = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0].split(" - ")[0].split("/")[-1] if lines else "" if run.returncode == 0 else run.stdout[-300:]


def main(faults: Sequence[Fault] = FAULTS, part: Path = COMPILER, tests: Sequence[Path] = ()) -> None:
    """Plants the faults named on the command line, or all."""
    words = sys.argv[1:]
    chosen = [f for f in faults if not words or any(w == f.name or w in f.name.split() for w in words)]
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        for fault in chosen:
            found = noticed_by(fault, Path(folder), part, tests)
            unnoticed += not found
            print(f"{fault.name}: {found or 'NOBODY'}", flush=True)
    print(f"{len(chosen)} faults, {unnoticed} that nobody noticed")
    sys.exit(unnoticed > 0)


if __name__ == "__main__":
    main()
