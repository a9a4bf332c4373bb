"""What a process makes of a plan: all of it, or one of many parts, batch by batch."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from brainldm.cohort.plan import Plan
from brainldm.cohort.row import Row
from brainldm.errors import UsageError


@dataclass(frozen=True)
class Batch:
    """Rows that are denoised together, always the same ones, since that decides the last digits.

    Args:
        rows: of the plan.
        wanted: those of which volumes are missing.
    """

    rows: tuple[Row, ...]
    wanted: frozenset[int]


@dataclass(frozen=True)
class Part:
    """Every n-th batch of a plan, from the k-th on; by default all of it.

    Args:
        k: from 1 to n.
        n: parts.
        is_whole: no other process makes another part, and the data set is finished after it.

    Raises:
        UsageError: there is no such part.
    """

    k: int = 1
    n: int = 1
    is_whole: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.n:
            raise UsageError(f"The shard is {self.k}/{self.n}: expected K/N with K from 1 to N.")

    @property
    def name(self) -> str:
        """Of its journal."""
        return "all" if self.is_whole else f"shard-{self.k:06d}-of-{self.n:06d}"

    def rows(self, count: int, batch: int) -> Sequence[int]:
        """Its rows of a plan of so many, in batches of so many."""
        if self.n == 1:
            return range(count)
        return [row for row in range(count) if row // batch % self.n == self.k - 1]

    def batches(self, plan: Plan, batch: int, done: Container[int]) -> Iterator[Batch]:
        """Batches that have volumes to make, read from the plan as they are asked for."""
        for start in range((self.k - 1) * batch, len(plan), self.n * batch):
            stop = min(start + batch, len(plan))
            wanted = frozenset(row for row in range(start, stop) if row not in done)
            if wanted:
                yield Batch(tuple(plan.rows(start, stop)), wanted)


WHOLE = Part(is_whole=True)
