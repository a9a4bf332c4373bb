"""HTML pages that need no other file, from templates beside the code that fills them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

PARTS = "image/parts.html"


def render(template: str, **content: Any) -> bytes:
    """Fill a template, which extends `image/page.html`; everything is escaped.

    Args:
        template: its path in the package, such as "prepare/quality.html".
        content: what it names; one that is missing is an error.
    """
    return _environment().get_template(template).render(content).encode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("brainldm", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    return environment


def page(title: str, *body: str) -> bytes:
    """A page of parts that are HTML already."""
    return render("image/page.html", title=title, body=Markup("\n".join(body)))


def picture(content: bytes, kind: str, caption: str) -> str:
    """A figure with its picture in it: jpeg, png or svg+xml."""
    macro: Any = _environment().get_template(PARTS).module
    return str(macro.picture(content, kind, caption))


def bars(heights: Sequence[float], low: str, high: str) -> str:
    """A small histogram between two labels."""
    macro: Any = _environment().get_template(PARTS).module
    return str(macro.bars(heights, low, high))
