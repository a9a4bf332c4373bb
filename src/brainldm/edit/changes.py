"""What is to become of a person: conditions as they are to be, or how far from what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from brainldm.conditions import Conditions
from brainldm.config import ModelConfig
from brainldm.config.slips import did_you_mean
from brainldm.errors import UsageError

Changes = Mapping[str, str | float]
"""By the name of the condition: 75 or "75" is what it is to be, "+10" or "-5" the difference."""


@dataclass(frozen=True)
class Amount:
    """What a condition is to be, or how far from what it is.

    Args:
        value: a label or a number.
        differs: it is a difference.
    """

    value: str | float
    differs: bool = False

    @classmethod
    def of(cls, said: str | float) -> Amount:
        """What "75", "+10", "-5", "F" or a number says."""
        if not isinstance(said, str):
            return cls(said)
        text = said.strip()
        try:
            return cls(float(text), text.startswith(("+", "-")))
        except ValueError:
            return cls(text)

    def applied(self, name: str, known: str | float) -> str | float:
        """What the condition is then.

        Raises:
            UsageError: a difference from a label.
        """
        if not self.differs:
            return self.value
        if isinstance(known, str) or isinstance(self.value, str):
            raise UsageError(
                f"{name} is to change by {self.value}, and is {known!r}: expected what it is to "
                "be, such as M."
            )
        return known + self.value


def series(several: Mapping[str, str]) -> list[Changes]:
    """Changes from what a command line has, where a condition may have several, with commas.

    Args:
        several: by name, such as {"age": "60,70,80", "sex": "M"}; one value holds for all.

    Raises:
        UsageError: numbers of values that do not match, or a value that is missing.
    """
    lists = {name: [part.strip() for part in text.split(",")] for name, text in several.items()}
    for name, parts in lists.items():
        if not all(parts):
            raise UsageError(
                f"{name} is {several[name]!r}: expected one value or several with commas between "
                "them, such as +10 or 60,70,80."
            )
    count = max(map(len, lists.values()), default=0)
    odd = {name: len(parts) for name, parts in lists.items() if len(parts) not in (1, count)}
    if odd:
        listed = ", ".join(f"{name} has {number}" for name, number in odd.items())
        raise UsageError(
            f"One condition has {count} values, and {listed}: expected as many, or one for all."
        )
    return [
        {name: parts[0] if len(parts) == 1 else parts[i] for name, parts in lists.items()}
        for i in range(count)
    ]


def check_changes(several: Sequence[Changes], config: ModelConfig) -> None:
    """Refuse no change, and one of what a model does not have.

    Raises:
        UsageError: there is one.
    """
    if not several or not all(several):
        raise UsageError(
            'Nothing is to change: expected one condition at least, such as {"age": "+10"} '
            "(--age +10)."
        )
    names = [variable.name for variable in config.conditions]
    unknown = next((name for each in several for name in each if name not in names), None)
    if unknown is not None:
        raise UsageError(
            f"This model has no condition {unknown}: expected {', '.join(names) or 'none'}."
            + did_you_mean(unknown, names)
        )


def people(
    known: Conditions, changes: Changes | Sequence[Changes], config: ModelConfig
) -> list[Conditions]:
    """The conditions after each of the changes.

    Args:
        known: what the person is, complete.
        changes: one, or a series.
        config: the model's.

    Raises:
        UsageError: as `check_changes`, or a label is to change by a number.
    """
    several = [changes] if isinstance(changes, Mapping) else list(changes)
    check_changes(several, config)
    after = []
    for each in several:
        changed = {
            name: Amount.of(said).applied(name, known.given[name]) for name, said in each.items()
        }
        after.append(Conditions.of({**known.given, **changed}))
    return after
