"""Floor 5: functions of arrays as graphs, and what is done to graphs."""

from backlit.compiler.ir import Eqn, Graph, Literal, Var, evaluate, parse, verify
from backlit.compiler.memory import plan_memory
from backlit.compiler.passes import simplify
from backlit.compiler.trace import make_graph

__all__ = ["Eqn", "Graph", "Literal", "Var", "evaluate", "make_graph", "parse", "plan_memory", "simplify", "verify"]
