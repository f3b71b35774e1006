"""Tables of what `diagnose` finds in a recording: the formulas of local rules, the balance of every rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.autodiff.walk import Pick
from backlit.core.errors import BacklitError
from backlit.diagnose.balance import balance
from backlit.diagnose.recording import Node, Recording
from backlit.diagnose.rules import RuleBook
from backlit.inspector.columns import Columns

Tables = dict[str, dict[str, Any]]


def formulas(recording: Recording) -> tuple[Tables, Any]:
    """The tables `formula`, `rule` and `rulenumbers`, and the row of `formula` for every node (-1 for none).

    A formula is there once for all nodes of one structure.
    """
    book, failed = RuleBook(), -1
    of_node = np.full(len(recording.nodes), failed, np.int32)
    numbers = Columns(node="i4", argnum="i4", text="", latex="")
    for node in recording.nodes:
        if not _has_values(node):
            continue
        try:
            of_node[node.index] = book.index(node)
        except BacklitError:
            continue  # a rule of the user's that does not take symbols
        for argnum, text, latex in book.numbers(node):
            numbers.add(node.index, argnum, text, latex)
    formula = Columns(forward_latex="", forward_text="", shapes="", note="")
    rule = Columns(formula="i4", argnum="i4", latex="", text="", shapes="", partial="")
    for row, rules in enumerate(book.rules):
        formula.add(rules.forward.latex, rules.forward.text, rules.forward.shapes, rules.note or None)
        for argnum, written in rules.reverse.items():
            partial = rules.partials.get(argnum)
            rule.add(row, argnum, written.latex, written.text, written.shapes, partial and partial.latex)
    return {"formula": formula.columns(), "rule": rule.columns(), "rulenumbers": numbers.columns()}, of_node


def _has_values(node: Node) -> bool:
    """Whether an op made the node, and what its rule reads is still there."""
    if node.op is None or (node.value is None and not isinstance(node.op, Pick)):
        return False
    return all(not isinstance(a, Node) or a.value is not None or a.op is not None for a in node.args)


def lamps(recording: Recording) -> Tables:
    """The table `lamp`: how far each rule is from the transpose of its derivative, and whether that is too far."""
    table = Columns(node="i4", residual="f8", allowed="f8", guilty="u1")
    for found in balance(recording).nodes:
        if found.checked:
            table.add(found.node.index, found.residual, found.allowed, found.guilty)
    return {"lamp": table.columns()}
