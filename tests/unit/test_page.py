"""Pages need no other file, and escape what stands in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from brainldm.evaluate.comparison import Row, comparison_page
from brainldm.image.page import environment, histogram, render
from brainldm.prepare.quality import quality_page


def draw(call: str, **content: object) -> str:
    """What a macro makes."""
    text = '{% from "image/parts.html" import bars, facts, picture %}' + call
    return environment().from_string(text).render(content)


def test_what_stands_in_a_page_is_escaped() -> None:
    rows = [Row("A < B", "1", "2", "", "")]
    html = comparison_page(rows, Path("a&b.json"), Path("c.json")).decode()
    assert html.startswith("<!doctype html>")
    assert "<td>A &lt; B<td" in html
    assert '<th class="n">a&amp;b.json<th' in html
    assert "http" not in html


def test_a_picture_stands_in_its_page() -> None:
    drawn = draw("{{ picture(content, 'png', alt) }}", content=b"\x00\xff", alt='the "first"')
    assert 'src="data:image/png;base64,AP8="' in drawn
    assert drawn.count("the &#34;first&#34;") == 2  # its caption too, as there is no other
    drawn = draw("{% call picture(b, 'png', 'alt') %}<b>{{ c }}</b>{% endcall %}", b=b"", c="<")
    assert "<figcaption><b>&lt;</b></figcaption>" in drawn
    assert "<a " not in drawn
    drawn = draw("{{ picture(b, 'png', 'alt', 'sub-1/a b.nii.gz') }}", b=b"")
    assert '<a href="sub-1/a%20b.nii.gz"><img' in drawn


def test_the_highest_bar_has_the_whole_height() -> None:
    drawn = draw("{{ bars(counts, low, high, 'mL') }}", **histogram([0.0, 1, 1], 3))
    assert drawn.count("<rect") == 2
    assert 'x="0.0" y="20.0" width="64.0" height="20.0"' in drawn
    assert 'x="128.0" y="0.0" width="64.0" height="40.0"' in drawn
    assert "<span>0</span><span>mL</span><span>1</span>" in drawn
    assert histogram([], 3)["counts"] == ()


def test_facts() -> None:
    drawn = draw("{{ facts(said) }}", said={"batch_size": 4, "plan": "<none>"})
    assert "<td>batch size<td>4" in drawn
    assert "&lt;none&gt;" in drawn


def test_a_name_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("prepare/quality.html")


def test_a_page_of_nobody() -> None:
    html = quality_page([], {"age": [], "sex": []}, {}, {}, {"x": "<bad>"}, []).decode()
    assert "0 prepared, 1 failed" in html
    assert "&lt;bad&gt;" in html
    assert "<b>Sex</b>: 0 of 0 known" in html
