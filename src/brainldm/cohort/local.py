"""One process that makes a cohort: the default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from brainldm.cohort.maker import Facts, Made, Maker, Making
from brainldm.cohort.parts import Batch
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Model


class Local:
    """Makes volumes in this process.

    Args:
        model: that makes them.

    Raises:
        ModelError: it cannot be loaded.
    """

    def __init__(self, model: Model) -> None:
        self._pipeline = BrainLDM.load(model)
        self.facts = Facts.of(self._pipeline)

    def make(self, making: Making, batches: Iterable[Batch]) -> Iterator[Made]:
        """Make volumes, each given back once it is whole on the disk."""
        return Maker(self._pipeline, making).make(batches)

    def close(self) -> None:
        """Nothing is held."""
