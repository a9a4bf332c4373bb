"""HTML pages that need no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import numpy as np

STYLE = (
    "body{font:15px/1.45 sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#222}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.25em 1.2em .25em 0;"
    "vertical-align:top;border-bottom:1px solid #ddd}td.n{text-align:right;white-space:nowrap;"
    "font-variant-numeric:tabular-nums}td.note,.small{color:#666;font-size:13px}"
    "figure{display:inline-block;margin:0 1em 1em 0}figure img{display:block;max-width:100%}"
    "figcaption{font-size:12px;color:#444;max-width:36em;overflow-wrap:anywhere}"
    ".bad{background:#fdecea;border-left:4px solid #b3261e;padding:.5em 1em}"
    "svg{vertical-align:middle}"
)
WIDTH, HEIGHT = 192, 40
"""Pixels of a histogram."""


def page(title: str, *body: str) -> bytes:
    """A self-contained HTML page."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    content = "\n".join(body)
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{escape(title)}</h1>\n'
        f"{content}</body></html>\n"
    ).encode()


def picture(content: bytes, kind: str, caption: str, below: str = "") -> str:
    """A figure with its picture in it.

    Args:
        content: of the file.
        kind: jpeg, png or svg+xml.
        caption: text.
        below: HTML in place of the caption.
    """
    encoded = base64.b64encode(content).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/{kind};base64,{encoded}">'
        f"<figcaption>{below or escape(caption)}</figcaption></figure>"
    )


def bars(heights: Sequence[float], low: str, high: str) -> str:
    """A small histogram between two labels; the highest bar has the whole height."""
    scaled = HEIGHT * np.asarray(heights, dtype=np.float64) / max(*heights, 1e-9)
    width = WIDTH / len(scaled)
    drawn = "".join(
        f'<rect x="{i * width:.1f}" y="{HEIGHT - h:.1f}" width="{width:.1f}" height="{h:.1f}"/>'
        for i, h in enumerate(scaled)
        if h
    )
    return f'{low} <svg width="{WIDTH}" height="{HEIGHT}" fill="#468">{drawn}</svg> {high}'
