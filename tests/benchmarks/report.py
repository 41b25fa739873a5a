"""What was measured: rows of figures, what is said of them, and how they are written: text, JSON, Markdown.

A figure keeps the value of every round. A ratio is taken round by round, A1/B1, A2/B2, so that a machine that slows
down in between does not make a ratio; its median is given with the lowest and the highest.
"""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Figure", "Row", "Verdict", "document", "markdown", "number", "percentile", "text", "write"]

FORMAT = 1
"""Version of the JSON document's shape; a reader that knows another one must not guess."""

PERCENTILES = (0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100)
"""Those that a curve of latencies is kept as."""


def percentile(values: Iterable[float], percent: float) -> float:
    """The nearest-rank percentile: a value that has been measured, none made up between two. Raises ValueError."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    # Rounded: 99.9 % of 1000 values are 999 of them, and not one more because 99.9 is no binary fraction.
    return ordered[max(0, math.ceil(round(percent * len(ordered) / 100, 6)) - 1)]


def number(value: float) -> str:
    """Three digits, or all of those before the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if abs(value) >= 0.001 else f"{value:.1e}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One contestant's figure, a value for each round."""

    name: str
    under: str
    """The server it ran under; empty where there is none, or where the contestant is one."""
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        return f"{number(min(self.values))} to {number(max(self.values))}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A ratio, or a figure that something is asked of. The worst round counts where ``worst`` says so."""

    name: str
    under: str = ""
    unit: str = ""
    values: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None
    worst: bool = False
    of: str = ""
    """The medians that a ratio is made of, as text."""

    @property
    def value(self) -> float:
        """What is held against the target."""
        if self.worst:
            return min(self.values) if self.at_most is None else max(self.values)
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        return f"{number(min(self.values))} to {number(max(self.values))}"

    @property
    def asked(self) -> str:
        """The target as text; empty without one."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}{self.unit and ' ' + self.unit}"
        return "" if self.at_most is None else f"at most {self.at_most:g}{self.unit and ' ' + self.unit}"

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most


@dataclass(kw_only=True)
class Row:
    """One comparison: figures gathered round by round, verdicts taken from them when the rounds are over."""

    number: int
    title: str
    figures: dict[tuple[str, str], Figure] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds of every answer, all rounds together, by contestant: kept as a curve of percentiles."""
    marks: dict[str, dict[str, str]] = field(default_factory=dict)
    """Claim -> bridge -> "right", or what was wrong."""
    notes: list[str] = field(default_factory=list)
    absent: dict[tuple[str, str], str] = field(default_factory=dict)
    """(under, name) -> why there is no figure of it."""
    seconds: float = 0.0

    def add(self, name: str, value: float, *, unit: str, under: str = "") -> None:
        """One more round's value of a contestant."""
        before = self.figures.get((under, name))
        values = (*(before.values if before else ()), value)
        self.figures[under, name] = Figure(name=name, under=under, unit=unit, values=values)

    def leave_out(self, name: str, why: str, *, under: str = "") -> None:
        """There is no figure of a contestant, or not of every round: a pair without its half is not compared."""
        self.figures.pop((under, name), None)
        self.absent[under, name] = why

    def ratio(
        self,
        name: str,
        *,
        of: tuple[str, str],
        to: tuple[str, str],
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """The ratio of two figures, each (under, name), round by round. A missing one leaves a note."""
        if of not in self.figures or to not in self.figures:
            self.notes.append(f"{name}{of[0] and ', ' + of[0]}: not measured")
            return
        pairs = zip(self.figures[of].values, self.figures[to].values, strict=True)
        values = tuple(one / other for one, other in pairs)
        medians = " to ".join(f"{number(one.median)} {one.unit}" for one in (self.figures[of], self.figures[to]))
        self.verdicts.append(
            Verdict(name=name, under=of[0], values=values, at_least=at_least, at_most=at_most, of=medians)
        )

    def judge(self, name: str, *, of: tuple[str, str], at_most: float) -> None:
        """Hold a figure itself, in its worst round, against a target."""
        if of in self.figures:
            one = self.figures[of]
            self.verdicts.append(
                Verdict(name=name, under=of[0], unit=one.unit, values=one.values, at_most=at_most, worst=True)
            )


# As text --------------------------------------------------------------------------------------------------------------


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns, the first one to the left."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    found = []
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        found.append("  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip())
    return "\n".join(found)


def text(row: Row) -> str:
    """A row as a table for a terminal."""
    parts = [f"{row.number}. {row.title} ({row.seconds:.0f} s)"]
    if row.figures:
        lines = [["", "", "median", "min to max"]]
        lines += [
            [f"  {_named(one.name, one.under)}", one.unit, number(one.median), one.spread]
            for one in row.figures.values()
        ]
        parts.append(aligned(lines))
    if row.verdicts:
        lines = [["", "value", "min to max", "asked", ""]]
        lines += [
            [f"  {_named(one.name, one.under)}", number(one.value), one.spread, one.asked, _word(one.met)]
            for one in row.verdicts
        ]
        parts.append(aligned(lines))
    if row.marks:
        bridges = list(next(iter(row.marks.values())))
        lines = [["", *bridges]]
        lines += [[f"  {claim}", *(_mark(marks[one]) for one in bridges)] for claim, marks in row.marks.items()]
        parts.append(aligned(lines))
        parts += [
            f"  {bridge}: {claim}: {said}"
            for claim, marks in row.marks.items()
            for bridge, said in marks.items()
            if said != "right"
        ]
    parts += [f"  {_named(name, under)}: {why}" for (under, name), why in row.absent.items()]
    parts += [f"  {note}" for note in row.notes]
    return "\n".join(parts)


def _word(met: bool | None) -> str:
    return "" if met is None else "met" if met else "missed"


def _mark(said: str) -> str:
    return "right" if said == "right" else "wrong"


# As Markdown ----------------------------------------------------------------------------------------------------------


def markdown(rows: Sequence[Row]) -> str:
    """The tables of the README, ready to be pasted."""
    parts = []
    for row in rows:
        if row.number == 1 and row.figures:
            parts += [_rates(row), _natives(row)]
            absent = [f"{_named(name, under)}: {why}" for (under, name), why in row.absent.items()]
            parts.append("\n".join(f"- {one}" for one in absent + row.notes))
    lines = [
        [str(row.number), _named(one.name, one.under), _measured(one), one.spread, one.of, _asked(one)]
        for row in rows
        if row.number != 1
        for one in row.verdicts
    ]
    if lines:
        parts.append(_table(["row", "what", "value", "min to max", "medians", "asked"], lines))
    parts += [_costs(row) for row in rows if row.number == 10 and row.figures]
    parts += [_marks(row) for row in rows if row.marks]
    return "\n\n".join(part for part in parts if part)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    cells = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(one.replace('|', chr(92) + '|') for one in line)} |" for line in cells)


def _named(name: str, under: str) -> str:
    return f"{name}, {under}" if under else name


def _measured(one: Verdict) -> str:
    return f"{number(one.value)} {one.unit}".strip()


def _asked(one: Verdict) -> str:
    return f"{one.asked}: {_word(one.met)}" if one.asked else ""


def _rates(row: Row) -> str:
    """The rates under each server, and the ratios of ours."""
    names = list(dict.fromkeys(name for under, name in row.figures if under))
    ratios = list(dict.fromkeys(one.name for one in row.verdicts))
    said = {(one.under, one.name): f"{number(one.value)} ({one.spread})" for one in row.verdicts}
    lines = []
    for server in dict.fromkeys(under for under, _ in row.figures if under):
        measured = [row.figures.get((server, name)) for name in names]
        rates = [number(one.median) if one else "fails" for one in measured]
        lines.append([server, *rates, *(said.get((server, name), "") for name in ratios)])
    return _table(["requests per second", *names, *ratios], lines)


def _natives(row: Row) -> str:
    found = [one for one in row.figures.values() if not one.under]
    lines = [[one.name, number(one.median), one.spread] for one in found]
    return _table(["native servers", "requests per second", "min to max"], lines)


def _costs(row: Row) -> str:
    """A line for each server, a column for each kind of cost."""
    kinds = {name: one.unit for (_, name), one in row.figures.items()}
    lines = []
    for under in dict.fromkeys(under for under, _ in row.figures):
        measured = [row.figures.get((under, name)) for name in kinds]
        lines.append([under, *(number(one.median) if one else "" for one in measured)])
    return _table(["of one request", *(_named(name, unit) for name, unit in kinds.items())], lines)


def _marks(row: Row) -> str:
    bridges = list(next(iter(row.marks.values())))
    lines = [[claim, *(_mark(marks[one]) for one in bridges)] for claim, marks in row.marks.items()]
    return _table(["", *bridges], lines)


# As JSON --------------------------------------------------------------------------------------------------------------


def document(rows: Sequence[Row], *, machine: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The results as JSON carries them: every round's value, and what was made of them."""
    return {
        "format": FORMAT,
        "options": options,
        "machine": machine,
        "rows": [
            {
                "row": row.number,
                "title": row.title,
                "seconds": round(row.seconds, 1),
                "figures": [
                    {
                        "name": one.name,
                        "under": one.under,
                        "unit": one.unit,
                        "values": [_short(value) for value in one.values],
                        "median": _short(one.median),
                        "low": _short(min(one.values)),
                        "high": _short(max(one.values)),
                    }
                    for one in row.figures.values()
                ],
                "verdicts": [
                    {
                        "name": one.name,
                        "under": one.under,
                        "unit": one.unit,
                        "values": [_short(value) for value in one.values],
                        "value": _short(one.value),
                        "at_least": one.at_least,
                        "at_most": one.at_most,
                        "met": one.met,
                    }
                    for one in row.verdicts
                ],
                "latencies": {
                    name: {
                        "answers": len(values),
                        "percentiles": [[one, _short(percentile(values, one))] for one in PERCENTILES],
                    }
                    for name, values in row.latencies.items()
                },
                "marks": row.marks,
                "absent": [{"name": name, "under": under, "why": why} for (under, name), why in row.absent.items()],
                "notes": row.notes,
            }
            for row in rows
        ],
    }


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def write(folder: Path, results: dict[str, Any]) -> Path:
    """The JSON file of a run."""
    path = folder / "results.json"
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
