"""Annotated shapes are promises: while the tests run, arrays are held against them.

Other annotations are mypy's to check: tests give wrong types to doors that refuse them in words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beartype import beartype

SOURCE = Path(__file__).parents[1] / "src"
MODULES = [
    ".".join(file.relative_to(SOURCE).with_suffix("").parts)
    for file in SOURCE.glob("brainldm/**/*.py")
    if "from jaxtyping import" in file.read_text(encoding="utf-8")
]
"""Those with annotated shapes. The hook makes each call in its modules many times slower."""
SHAPED = re.compile(r"\b(Float|Int|Integer|Real|Bool|Num|Shaped|UInt8|Float32|Float64)\[")


def held(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose arrays are checked, by the hook of jaxtyping that calls this."""
    hints = function.__annotations__
    shaped = {name: hint for name, hint in hints.items() if SHAPED.search(str(hint))}
    if not shaped:
        return function
    function.__annotations__ = shaped
    return beartype(function)
