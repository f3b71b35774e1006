"""What can be said of one equation after the other, in one go: folding, algebra, common subexpressions."""

from __future__ import annotations

from backlit.compiler.ir import Atom, Eqn, Graph, Var
from backlit.compiler.passes.algebra import Algebra
from backlit.compiler.passes.cse import Sharing
from backlit.compiler.passes.fold import Folding
from backlit.compiler.passes.rewrite import applied


def local(graph: Graph) -> Graph:
    """`graph` after `fold`, `algebra` and `cse`; without regions once is enough.

    Each equation sees what became of those before it, whichever rule did it, so that nothing is left for a second time.
    """
    return applied(graph, Local(graph))


class Local:
    """The three rules as one."""

    def __init__(self, graph: Graph) -> None:
        self._fold, self._algebra, self._share = Folding(graph), Algebra(), Sharing(graph)

    def __call__(self, e: Eqn) -> Eqn | Atom:
        found = self._fold(e)
        if found.__class__ is not Eqn:
            made = isinstance(found, Var) and found is e.out
            return self._share.constant(found, self._fold.consts[found]) if made else found  # type: ignore[arg-type,index]
        found = self._algebra(found)
        return self._share(found) if found.__class__ is Eqn else found

    def finish(self, made: Graph) -> None:
        """What each of them does at its end."""
        self._fold.finish(made)
        self._share.finish(made)
