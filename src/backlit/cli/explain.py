"""`backlit explain`: the forward and the backward pass of an expression, step by step, as two tables."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backlit.core.errors import BacklitError
from backlit.diagnose.explain import Explanation, LocalRule, Step
from backlit.diagnose.explain import explain as explained
from backlit.diagnose.expressed import record_expression
from backlit.diagnose.formula import array_text
from backlit.diagnose.values import parse_values
from backlit.inspector.file import save

_WIDTH = 32  # characters that fit a column when three share a line of 80


def explain(
    expression: Annotated[
        str, typer.Argument(help="Statements separated by ';'; the last is the output. After -- when it starts with -.")
    ],
    values: Annotated[list[str] | None, typer.Argument(help="NAME=VALUE, as in x=2 or W=[[1,2],[3,4]].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the explanation as JSON.")] = False,
    html: Annotated[str | None, typer.Option("--html", metavar="FILE", help="Write a page to watch it on.")] = None,
) -> None:
    """Shows the backward pass through an expression, value by value.

    For example: backlit explain "u = x*y; v = u + y; L = v**2" x=2 y=3
    """
    try:
        found = explained(expression, parse_values(values or []))
        if html is not None:
            save(record_expression(expression, parse_values(values or [])), html)
    except BacklitError as error:
        typer.echo(f"backlit explain: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(as_data(found), allow_nan=False, ensure_ascii=False, indent=2))
    else:
        show(found, Console(highlight=False))
        if html is not None:
            typer.echo(f"\nThe page is in {html}")


def as_data(found: Explanation) -> dict[str, Any]:
    """The explanation as dictionaries, lists and numbers; numbers that JSON lacks are "nan", "inf" and "-inf"."""
    return {
        "expression": found.expression,
        "output": found.output,
        "upstream": found.upstream,
        "steps": [_data(step) for step in found.steps],
        "backward": list(found.backward),
        "gradients": {name: _data(gradient) for name, gradient in found.gradients.items()},
    }


def _data(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return _data(x.tolist())
    if isinstance(x, (tuple, list)):
        return [_data(part) for part in x]
    if isinstance(x, float) and not math.isfinite(x):
        return str(x)
    if hasattr(x, "__dataclass_fields__"):
        return {name: _data(getattr(x, name)) for name in x.__dataclass_fields__}
    return x


def show(found: Explanation, console: Console) -> None:
    """Prints the forward table, the backward table and the gradients."""
    forward = _table("Forward", "value", "computed as", "local rule")
    for step in found.steps:
        forward.add_row(Text(step.name, "bold"), _computed(step), _joined(_local(step)))
    console.print(forward)
    backward = _table(f"Backward ({found.upstream}: the gradient in the same row)", "value", "gradient", "passes on")
    for name in found.backward:
        step = found[name]
        backward.add_row(Text(name, "bold"), _merged(step, found), _joined(_passed(step)))
    console.print(backward)
    for name, gradient in found.gradients.items():
        line = _equation(f"  d{found.output}/d{name}", gradient, "bold green", console.width)
        if found[name].gradient is None:
            line.append(f"  (no path of derivatives leads from {found.output} to {name})", "dim")
        console.print(line)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "value")
    return table


def _joined(lines: Iterable[Text]) -> Text:
    return Text("\n").join(lines)


def _equation(left: str, value: Any, style: str, width: int = _WIDTH) -> Text:
    """`left = value`, an array on a line of its own where the line would be long; its rows stand under each other."""
    body = array_text(value, width - len("= "))
    long = np.ndim(value) and len(f"{left} = {body.splitlines()[0]}") > width
    start = f"{left}\n= " if long else f"{left} = "
    indent = len(start) - start.rfind("\n") - 1
    return Text.assemble(start, (body.replace("\n", "\n" + " " * indent), style))


def _computed(step: Step) -> Text:
    if step.op is None:
        gap = "\n" if step.value.ndim else " "
        return Text.assemble((array_text(step.value, _WIDTH), "cyan"), (f"{gap}({step.kind})", "dim"))
    line = _equation(step.formula, step.value, "cyan")
    return line.append(f"\n{step.note}", "dim") if step.note else line


def _local(step: Step) -> Iterator[Text]:
    for rule in step.rules:
        to = _argument(step, rule)
        if rule.derivative is None:
            yield Text(f"to {to}: {rule.formula}")
        elif rule.derivative == array_text(rule.derivative_value):
            yield Text(f"d{step.name}/d{to} = {rule.derivative}")
        else:
            yield _equation(f"d{step.name}/d{to} = {rule.derivative}", rule.derivative_value, "cyan")


def _passed(step: Step) -> Iterator[Text]:
    for rule in step.rules:
        to = _argument(step, rule)
        if rule.derivative is None and len(rule.formula) > _WIDTH:
            left = f"to {to}, by its local rule above"
        else:
            shown = rule.numbers not in (None, array_text(rule.value))
            left = f"to {to}: {rule.formula}" + (f" = {rule.numbers}" if shown else "")
        line = _equation(left, rule.value, "magenta")
        yield line.append("\n(0 where a later step did not select it)", "dim") if rule.unselected else line


def _merged(step: Step, found: Explanation) -> Text:
    """The gradient as the sum of the contributions to it, when it is a sum."""
    if step.name == found.output:
        return Text.assemble((array_text(step.gradient), "bold green"), (" (the start)", "dim"))
    several = len(step.contributions) > 1
    lines = []
    for i, part in enumerate(step.contributions):
        body, sign = array_text(part.value, _WIDTH - 2), "  " * several if not i else "+ "
        gap = "\n" + "  " * several if part.value.ndim else " "
        lines.append(
            Text.assemble(
                sign,
                (body.replace("\n", "\n" + " " * len(sign)), "magenta"),
                (f"{gap}(from {part.source}, through {part.op})", "dim"),
            )
        )
    if several:
        body = array_text(step.gradient, _WIDTH).replace("\n", "\n  ")
        lines.append(Text.assemble("= ", (body, "bold green")))
    return _joined(lines)


def _argument(step: Step, rule: LocalRule) -> str:
    """The name of an input, with its place when the op has it twice."""
    twice = sum(other.argument == rule.argument for other in step.rules) > 1
    return f"{rule.argument} (place {rule.position + 1})" if twice else rule.argument
