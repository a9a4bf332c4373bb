"""What was probably meant, at the end of a message of refusal; empty if nobody can tell."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from brainldm.config.variables import Variable

OTHER_WORDS = {"female": "F", "woman": "F", "male": "M", "man": "M", "gender": "sex"}
UNITS = {"mL": {"litres": 1000, "mm3": 0.001}, "years": {"months": 1 / 12}}
"""What values are easily given in instead, and how much of the unit that is."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The known word that differs by a few letters or by case, or has these initials."""
    lower = {each.lower(): each for each in known}
    initials = {"".join(part[:1] for part in each.split("_")): each for each in lower}
    text = word.lower()
    near = difflib.get_close_matches(text, lower, n=1, cutoff=0.7)
    found = near[0] if near else OTHER_WORDS.get(text, initials.get(text, "")).lower()
    return f" Did you mean {lower[found]}?" if found in lower and lower[found] != word else ""


def other_label(variable: Variable, value: object) -> str:
    """For a value that is no label of a variable."""
    labels: Sequence[str] = variable.labels or ()
    hint = did_you_mean(value, labels) if isinstance(value, str) else ""
    if hint or len(labels) != 2:
        return hint
    return " To give a normalised value, say so: Conditions.from_normalised, --normalised."


def other_unit(variable: Variable, value: float, normalised: bool) -> str:
    """For a value outside a variable's range."""
    if normalised:
        inside = variable.low <= value <= variable.high
        return f" Is it in {variable.unit}? Then it is not normalised." if inside else ""
    for unit, factor in UNITS.get(variable.unit, {}).items():
        if variable.low <= value * factor <= variable.high:
            return f" Is it in {unit}? Then write {value * factor:g}."
    if 0 <= value <= 1:
        return " Is it normalised? Then say so: Conditions.from_normalised, --normalised."
    return ""
