"""Plots hold whatever a condition is called."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brainldm.evaluate import plots

TRICKY = st.text(st.sampled_from(r"$\{}^_<&fo" + "\x00\n\u60a3") | st.characters(), max_size=12)


@pytest.mark.filterwarnings("ignore:Glyph")
@settings(deadline=None, max_examples=5)
@given(TRICKY)
@example(r"$\foo$")
@example(r"a\$b$c$")
def test_any_name_is_plotted(name: str) -> None:
    for svg in (
        plots.scatter(name, [(1.0, 2.0), (2.0, 3.0)]),
        plots.histograms(name, {"generated": [1.0, 2.0], "real": [2.0, 3.0]}),
        plots.intervals(name, [(name, 1.0, (0.5, 1.5), 1.0)]),
    ):
        ElementTree.fromstring(svg)


def test_a_name_is_shown_as_it_is() -> None:
    assert r"$\foo$, asked for" in plots.scatter(r"$\foo$", [(1.0, 2.0), (2.0, 3.0)])
