"""HTML pages that need no other file, from templates beside the code that fills them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **content: Any) -> bytes:
    """Fill a template, which extends `image/page.html`; everything is escaped.

    Args:
        template: its path in the package, such as "prepare/quality.html".
        content: what it names; one that is missing is an error.
    """
    return environment().get_template(template).render(content).encode()


@cache
def environment() -> Environment:
    """Finds templates in the package, and escapes."""
    made = Environment(
        loader=PackageLoader("brainldm", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["base64"] = lambda content: base64.b64encode(content).decode()
    made.filters["words"] = words
    return made


def words(name: str) -> str:
    """The name of a condition, a column or a setting as people write it; units stand elsewhere."""
    return name.removesuffix("_ml").replace("_", " ")


def histogram(values: Sequence[float], bins: int) -> dict[str, Any]:
    """What the macro `bars` draws: counts, and the ends of their range; no counts of no values."""
    if not values:
        return {"counts": (), "low": "", "high": ""}
    counts, edges = np.histogram(np.array(values, dtype=np.float64), bins)
    return {
        "counts": counts.tolist(),
        "low": f"{edges[0]:.4g}",
        "high": f"{edges[-1]:.4g}",
    }
