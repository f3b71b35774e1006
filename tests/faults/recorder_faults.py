"""Faults planted in what records, measures and packs a run, one at a time, and which test notices each.

    python tests/faults/recorder_faults.py                 all of them; some minutes
    python tests/faults/recorder_faults.py thumbnails      those whose names contain a word

As for the compiler (`compiler_faults.py`), but no browser is needed.
"""

from __future__ import annotations

from pathlib import Path

from compiler_faults import ROOT, Fault, main

PART = Path("src", "backlit")
TESTS = [
    ROOT / "tests" / folder / f"test_{name}.py"
    for folder, names in {
        "diagnose": ("statistics", "recording", "recomputation", "flow", "checkpoints", "effects", "flops", "paths"),
        "inspector": ("pictures", "wire", "file", "derived", "programs", "compiled"),
    }.items()
    for name in names
]

FAULTS = [
    Fault("contributions the other way round", "diagnose/capture.py", "taker.contributions.append(found)", "taker.contributions.insert(0, found)"),
    Fault("a second backward pass added to the first", "diagnose/capture.py", "            node.contributions, node.cotangent, node.seed = [], None, None", "            pass"),
    Fault("seeds not recorded", "diagnose/capture.py", "            node.seed = value", "            pass"),
    Fault("a value of an earlier step taken for one of this", "diagnose/capture.py", "return node.value is value and node.step == step.index", "return node.value is value"),
    Fault("uses not counted", "diagnose/capture.py", "                found.uses += 1\n                return found", "                return found"),
    Fault("no other step after an update", "diagnose/capture.py", "        self.events.add(UPDATE, node, None, new.nbytes)\n        self.closed = True", "        self.events.add(UPDATE, node, None, new.nbytes)"),
    Fault("memory of views counted for each", "diagnose/capture.py", "    while isinstance(base := array.base, np.ndarray):\n        array = base", "    pass"),
    Fault("memory of parameters counted", "diagnose/capture.py", "pays = not memory.holders and not self._is_parameter(owner, node)", "pays = not memory.holders"),
    Fault("memory freed by its first reader", "diagnose/capture.py", "            if not memory.holders and memory.payer is not None:", "            if memory.payer is not None:"),
    Fault("memory of single results of functions never freed", "diagnose/capture.py", "self.keeping.recorded(node.up if plan is not node.plan else node,", "self.keeping.recorded(node,"),
    Fault("readers of kept values lost", "diagnose/capture.py", "node.saved.readers.extend([(reader, argnum) for argnum in argnums])", "pass"),
    Fault("walks of inner functions end a step", "diagnose/capture.py", "if known and not any(self.walks) and self.step is not None:", "if self.step is not None:"),
    Fault("times of rules ended by walks inside", "diagnose/capture.py", "        if giver is None:\n            return  # in", "        if False:\n            return  # in"),
    Fault("a compiled function says nothing", "diagnose/capture.py", "        self.recording.note = (", "        _ = ("),
    Fault("what is held counted again by checkpoints", "diagnose/recomputation.py", "or self.is_held(owner)", ""),
    Fault("memory of checkpoints never freed", "diagnose/recomputation.py", "if found is not None and memory:", "if False:"),
    Fault("nested checkpoints counted once more", "autodiff/tape.py", "() if step.nested else record.current()", "record.current()"),
    Fault("plans that keep everything", "diagnose/checkpoints.py", "checkpoint(segment)(*arguments)", "segment(*arguments)"),
    Fault("groups of plans cut one part short", "diagnose/checkpoints.py", "g[0].first, g[-1].last)", "g[0].first, g[-1].first)"),
    Fault("what passes no gradient on taken as given", "diagnose/rerun.py", "a.aside if isinstance(a, Node) and a.aside is not None else a for", "a for"),
    Fault("detached values that pass gradients on", "diagnose/rerun.py", "            x.detach() if isinstance(x, Tensor) and not w", "            x if isinstance(x, Tensor) and not w"),
    Fault("losses after updates in single precision", "diagnose/rerun.py", "raised(array) if self.wide else array", "array"),
    Fault("each update measured with all of them", "diagnose/effects.py", "_loss(program, {u.node: u.after}) - before for u", "after - before for u"),
    Fault("products counted once", "diagnose/flops.py", "return 2 * int(sizes[0][-1]) * given", "return int(sizes[0][-1]) * given"),
    Fault("windows of one channel counted", "diagnose/flops.py", 'math.prod(roles["w"][1:])', 'math.prod(roles["w"][2:])'),
    Fault("the rest of a level lost", "diagnose/tree.py", "rest=True, others=others)", "rest=True)"),
    Fault("state of the optimizer of another parameter", "diagnose/capture.py", "optimizer.state.get(index, {})", "optimizer.state.get(0, {})"),
    Fault("names found by another call", "diagnose/calls.py", "            if innermost:", "            if True:"),
    Fault("statistics of the value before an update kept", "diagnose/summary.py", "self.updates[id(new)] = new, found", 'self.updates[id(new)] = new, known["value"]'),
    Fault("arrays kept by a recording of statistics", "diagnose/summary.py", "                node.value = node.cotangent = None", "                pass"),
    Fault("clipped gradients measured as they came", "diagnose/summary.py", "if used is node.cotangent and used is not None else", "if True else"),
    Fault("elements left over not measured", "diagnose/onepass.py", "call void @one.{name}.1(ptr %left, ptr %left, i64 %rest, ptr %out)", ""),
    Fault("NaN counted as infinite", "diagnose/onepass.py", "%n.infinite = sub {i} %n.wild, %n.nans", "%n.infinite = add {i} %n.wild, 0"),
    Fault("zeros counted as subnormal", "diagnose/onepass.py", "%n.subnormal = sub {i} %n.tiny, %n.zeros", "%n.subnormal = add {i} %n.tiny, 0"),
    Fault("bins without a sign", "diagnose/onepass.py", "%is.negative = icmp slt {i} %bits, 0", "%is.negative = icmp slt {i} 0, 0"),
    Fault("bins one binade off", "diagnose/onepass.py", '"lowest": (wild >> 1) + lowest', '"lowest": (wild >> 1) + lowest - 1'),
    Fault("squares of doubles that overflow", "diagnose/statistics.py", "if x.dtype == np.float64 and not", "if False and not"),
    Fault("sizes below zero", "diagnose/statistics.py", "abs(max(-low, high))", "max(-low, high)"),
    Fault("what a view repeats counted once", "diagnose/statistics.py", "found if times == 1 else _repeated(found, times)", "found"),
    Fault("distances of turned arrays element by element of memory", "diagnose/statistics.py", "x.shape == y.shape and x.strides == y.strides and", "x.shape == y.shape and"),
    Fault("scale of thumbnails dropped", "inspector/pictures.py", "                x, scale = pooled(", "                x, _ = pooled("),
    Fault("thumbnails of means of spikes", "inspector/pictures.py", "largest = np.where(-low > top, low, top)", "largest = (low + top) / 2"),
    Fault("bad blocks of thumbnails not marked", "inspector/pictures.py", "    levels[bad] = BAD", "    levels[bad] = 0"),
    Fault("the largest arrays kept first", "inspector/pictures.py", "key=lambda k: shown[k].nbytes)", "key=lambda k: -shown[k].nbytes)"),
    Fault("thumbnails that do not shrink", "inspector/pictures.py", "            side //= 2", "            break"),
    Fault("order of terms lost in tables", "inspector/tables.py", "                order, contribution, taker = found", "                _, contribution, taker = found"),
    Fault("cosine and share swapped", "inspector/tables.py", "cosine, share = _part(", "share, cosine = _part("),
    Fault("ratio of updates upside down", "inspector/updated.py", "ratio = moved.change / moved.value if moved.value else math.nan", "ratio = moved.value / moved.change if moved.change else math.nan"),
    Fault("events of memory one late", "inspector/derived.py", "            table.add(position, total)", "            table.add(position + 1, total)"),
    Fault("seeds lost when a file is read", "inspector/loading.py", "                event.node.seed = event.node.cotangent", "                pass"),
    Fault("checkpoints lost when a file is read", "inspector/loading.py", "                self.made.recomputed.append(found)", "                pass"),
    Fault("columns not aligned", "inspector/wire.py", "data += bytes(-len(data) % 8)", "data += bytes(-len(data) % 4)"),
]  # fmt: skip


if __name__ == "__main__":
    main(FAULTS, PART, TESTS)
