"""The README's pictures: SVG that is the same for the same figures, and can be read on white and on black.

matplotlib draws; it is imported only when there is something to draw. Text stays text, the background is transparent,
and every colour has a contrast of at least 3 to white and to GitHub's dark page.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.report import Row, percentile

__all__ = ["draw"]

INK = "#7a7a7a"
OURS = "#2f81c7"
OTHERS = "#8e8a80"
COLOURS = {"groups of their own": "#2f81c7", "both in GLOBAL": "#c4701b", "threads of gunicorn": "#a355c0"}
REST = "#3c9a5f"

STYLE = {
    "svg.hashsalt": "asyncgroups",  # else the ids are drawn at random
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw the rows that have a picture: 1, 3 and 4. The files."""
    import matplotlib as mpl  # noqa: PLC0415 - see above

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    pictures = {1: ("throughput.svg", _throughput), 3: ("scaling.svg", _scaling), 4: ("latency.svg", _latency)}
    written = []
    with mpl.rc_context(STYLE):
        for row in rows:
            if row.number in pictures and row.figures:
                name, picture = pictures[row.number]
                figure = picture(plt, row)
                figure.savefig(folder / name, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
                plt.close(figure)
                written.append(folder / name)
    return written


def _throughput(plt: Any, row: Row) -> Any:
    """A bar for each contestant, by server; a whisker from the lowest to the highest round."""
    places = list(dict.fromkeys(under for under, _ in row.figures))
    groups = [[one for (under, _), one in row.figures.items() if under == place] for place in places]
    figure, axes = plt.subplots(
        len(groups),
        1,
        figsize=(8, 0.9 * len(groups) + 0.26 * len(row.figures)),
        layout="constrained",
        gridspec_kw={"height_ratios": [len(group) + 1 for group in groups]},
        squeeze=False,
    )
    for axis, place, group in zip(axes[:, 0], places, groups, strict=True):
        names = [one.name for one in group]
        medians = [one.median for one in group]
        spread = [
            [one.median - min(one.values) for one in group],
            [max(one.values) - one.median for one in group],
        ]
        colours = [OURS if name.startswith("asyncgroups") else OTHERS for name in names]
        axis.barh(names, medians, xerr=spread, color=colours, ecolor=INK, capsize=2, height=0.7)
        axis.invert_yaxis()
        axis.set_title(f"under {place}" if place else "native WSGI servers", loc="left", fontsize=10)
        for at, one in enumerate(group):
            _beside(axis, max(one.values), at, f"{one.median:,.0f}")
        axis.margins(x=0.12)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes[-1, 0].set_xlabel("requests per second, a tiny application on 32 connections: the median of the rounds")
    return figure


def _beside(axis: Any, x: float, y: float, said: str) -> None:
    axis.annotate(said, (x, y), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9)


def _scaling(plt: Any, row: Row) -> Any:
    """A bar for each number of groups."""
    figure, axis = plt.subplots(figsize=(8, 2.2), layout="constrained")
    figures = list(row.figures.values())
    spread = [
        [one.median - min(one.values) for one in figures],
        [max(one.values) - one.median for one in figures],
    ]
    axis.barh(
        [one.name for one in figures],
        [one.median for one in figures],
        xerr=spread,
        color=OURS,
        ecolor=INK,
        capsize=2,
        height=0.6,
    )
    axis.invert_yaxis()
    said = {one.name.removesuffix(" to one"): f"{one.value:.2f} times" for one in row.verdicts}
    for at, one in enumerate(figures):
        _beside(axis, max(one.values), at, said.get(one.name, "1"))
    axis.margins(x=0.1)
    axis.set_xlabel("requests per second of all groups together, 10 ms of Python work each")
    return figure


def _latency(plt: Any, row: Row) -> Any:
    """A curve for each place, alone and beside; the axis shows how rare an answer is, from 1 in 1 to 1 in 1000."""
    figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    percents = [0, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9]
    for name, values in row.latencies.items():
        place, _, which = name.rpartition(", ")
        axis.plot(
            [100 / (100 - percent) for percent in percents],
            [percentile(values, percent) for percent in percents],
            color=COLOURS.get(place, REST),
            linestyle="-" if which == "beside" else ":",
            label=f"{place}, {which}",
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    ticks = [50, 90, 99, 99.9]
    axis.set_xticks([100 / (100 - percent) for percent in ticks], [f"{percent:g} %" for percent in ticks])
    axis.minorticks_off()
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xlabel("of answers were faster")
    axis.set_ylabel("milliseconds")
    axis.legend(fontsize=9)
    return figure
