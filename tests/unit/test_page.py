"""Pages need no other file, and escape what stands in them."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from brainldm.image.page import bars, page, picture, render
from brainldm.prepare.quality import quality_page


def test_what_stands_in_a_page_is_escaped() -> None:
    html = page("A < B", "<p>as it is</p>", picture(b"\x00\xff", "png", 'the "first"')).decode()
    assert "<h1>A &lt; B</h1>" in html
    assert "<p>as it is</p>" in html
    assert 'alt="the &#34;first&#34;"' in html
    assert "data:image/png;base64,AP8=" in html
    assert "http" not in html
    assert html.startswith("<!doctype html>")


def test_the_highest_bar_has_the_whole_height() -> None:
    drawn = bars([0, 1, 2], "<0", "2")
    assert drawn.count("<rect") == 2
    assert 'x="64.0" y="20.0" width="64.0" height="20.0"' in drawn
    assert 'x="128.0" y="0.0" width="64.0" height="40.0"' in drawn
    assert "&lt;0" in drawn
    assert "<rect" not in bars([0, 0], "0", "1")


def test_a_name_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("prepare/quality.html")


def test_a_page_of_nobody() -> None:
    html = quality_page([], {"age": [], "sex": []}, {}, {"x": "<bad>"}, []).decode()
    assert "0 prepared, 1 failed" in html
    assert "&lt;bad&gt;" in html
    assert "<b>sex</b>: 0 of 0 known" in html
