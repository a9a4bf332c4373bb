"""The plots of the report, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainldm.errors import require
from brainldm.evaluate.figure import unit_of
from brainldm.image.page import words

COLOURS = {"generated": "#d95f02", "real": "#1b6ca8", "held-out": "#1b6ca8"}
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "brainldm",  # equal figures, equal bytes
}


def _axes(label_x: str, label_y: str) -> tuple[Any, Any]:
    require("evaluate", "The report", "matplotlib")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(3.4, 2.8), layout="constrained")
        axes = figure.add_subplot()
    axes.set_xlabel(_plain(label_x))
    axes.set_ylabel(_plain(label_y))
    return figure, axes


def _svg(figure: Any) -> str:
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _plain(text: str) -> str:
    """Text that matplotlib takes for no formula, and SVG for no control character."""
    return "".join(c if c.isprintable() else " " for c in text).replace("$", r"\$")


def scatter(name: str, pairs: Sequence[tuple[float, float]]) -> str:
    """A condition asked for against what was measured, with the line where they agree."""
    unit = unit_of(name)
    of = f"{words(name)} ({unit})" if unit else words(name)
    figure, axes = _axes(f"{of}, asked for", "measured")
    points = np.array(pairs)
    ends = [points[:, 0].min(), points[:, 0].max()]
    axes.plot(ends, ends, color="#999", linewidth=1)
    axes.scatter(*points.T, s=9, color=COLOURS["generated"], alpha=0.7, linewidths=0)
    return _svg(figure)


def histograms(label: str, values: Mapping[str, Sequence[float]], line: float | None = None) -> str:
    """Distributions of one quantity in several sets over the same bins; a line at a threshold."""
    figure, axes = _axes(label, "share of scans")
    edges = np.histogram_bin_edges(np.concatenate([np.array(v) for v in values.values()]), 24)
    for what, of_set in values.items():
        weights = np.full(len(of_set), 1 / len(of_set))
        axes.hist(
            of_set,
            edges,
            weights=weights,
            histtype="stepfilled",
            alpha=0.45,
            color=COLOURS[what],
            label=what,
        )
    if line is not None:
        axes.axvline(line, color="#222", linewidth=1, linestyle="--", label="threshold")
    axes.legend(frameon=False)
    return _svg(figure)


def intervals(title: str, figures: Sequence[tuple[str, float, tuple[float, float], float]]) -> str:
    """Figures of the generated set with their intervals, beside those of real scans.

    Args:
        title: of the axis.
        figures: name, value, interval and real value of each.
    """
    figure, axes = _axes(title, "")
    for i, (_, value, (low, high), real) in enumerate(reversed(figures)):
        axes.plot([low, high], [i, i], color=COLOURS["generated"], linewidth=1.5)
        ours = axes.scatter([value], [i], s=22, color=COLOURS["generated"])
        theirs = axes.scatter([real], [i], s=22, color=COLOURS["real"], marker="D")
    axes.set_yticks(range(len(figures)), [_plain(name) for name, *_ in reversed(figures)])
    axes.set_ylim(-0.6, len(figures) - 0.4)
    figure.legend([ours, theirs], ["generated", "real"], loc="outside upper center", ncols=2)
    return _svg(figure)
