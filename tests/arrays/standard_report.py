"""How much of the array API standard matches: printed by family, and written into the documentation (`make standard`)."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from standard import DEVIATIONS, MISSING, NAMES, Case, compared
from standard_cases import creation, elementwise, indexing, inspection, manipulation, operators
from standard_numeric import algebra, fourier, reductions, searching

FAMILIES = {
    "elementwise functions": elementwise,
    "operators and attributes": operators,
    "creation": creation,
    "manipulation": manipulation,
    "indexing": indexing,
    "reductions and scans": reductions,
    "searching, sorting, sets": searching,
    "linear algebra": algebra,
    "Fourier transforms": fourier,
    "dtypes and inspection": inspection,
}

PAGE = Path(__file__).parent.parent.parent / "docs" / "array_api.md"
BEGIN, END = "<!-- figures: make standard -->", "<!-- end -->"


def figures() -> tuple[list[tuple[str, int, int, int]], list[tuple[Case, str]], Counter[str]]:
    """By family: functions, matching cases, all cases; then unexplained differences, and how many cases deviate how."""
    rows, unexplained, deviating = [], [], Counter[str]()
    for family, make in FAMILIES.items():
        match, total, wrong = compared(list(make()))
        rows.append((family, len(total), sum(match.values()), sum(total.values())))
        for case, what in wrong:
            known = next((d for d in DEVIATIONS if d.covers(case, what)), None)
            if known is None:
                unexplained.append((case, what))
            else:
                deviating[known.title] += 1
    return rows, unexplained, deviating


def page(rows: list[tuple[str, int, int, int]], deviating: Counter[str]) -> str:
    """The generated part of the documentation."""
    lines = ["| | functions | cases | matching |", "|---|---|---|---|"]
    lines += [f"| {family} | {n} | {total:,} | {match:,} |" for family, n, match, total in rows]
    n, match, total = (sum(row[k] for row in rows) for k in (1, 2, 3))
    lines += [f"| **all** | {n} | {total:,} | {match:,} |", ""]
    named = [f"`{n}`" for n in sorted(MISSING)]
    there = len(NAMES) - len(MISSING)
    lines += [
        f"{there} of {len(NAMES)} names of the standard are there"
        + (f"; not yet: {', '.join(named)}." if named else "."),
        "",
    ]
    lines += [f"- **{d.title}** {d.why} ({deviating[d.title]} cases)." for d in DEVIATIONS]
    return "\n".join(lines)


def main() -> int:
    """Prints what matches, writes the figures into the documentation, and fails where a difference is not explained."""
    rows, unexplained, deviating = figures()
    text = page(rows, deviating)
    print(text)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    for case, what in unexplained:
        print(f"{case.label}: {what}")
    return bool(unexplained)


if __name__ == "__main__":
    sys.exit(main())
