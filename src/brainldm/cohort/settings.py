"""What the bytes of a cohort hang on: written when it begins, held against whoever resumes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from brainldm._version import __version__
from brainldm.config.base import wrong_fields
from brainldm.errors import DataError
from brainldm.files import read_json


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MadeBy(_Settings):
    """The model: its name, and the hash of its weights."""

    name: str
    hash: str


class Planned(_Settings):
    """The plan: the SHA-256 of its rows and of what its columns mean, and how many rows."""

    sha256: str
    rows: int


class Checks(_Settings):
    """How volumes are checked and measured.

    Args:
        on_failure: what the quality gate does with a volume that fails.
        measures: names of what is measured.
        segmentation: that measures it.
        tolerance: condition to mL; not set where measures are not checked.
    """

    on_failure: Literal["off", "flag", "redraw"]
    measures: tuple[str, ...] = ()
    segmentation: str | None = None
    tolerance: dict[str, float] | None = None


class Settings(_Settings):
    """What the bytes of a data set hang on; another cannot resume it.

    Args:
        model: that makes the volumes.
        plan: of them.
        sampling: sampler, steps, guidance.
        extrapolate: conditions outside the model's ranges were accepted.
        dtype: of the computation.
        batch: rows that are denoised together; the first one begins at row 0.
        gate: how volumes are checked and measured.
        labels: which segmenter labels the heads; not set where none does.
        version: of brainldm.
    """

    model: MadeBy
    plan: Planned
    sampling: dict[str, str | int | float]
    extrapolate: bool
    dtype: str
    batch: int
    gate: Checks
    labels: str | None = None
    version: str = __version__

    @classmethod
    def read(cls, file: Path) -> Self:
        """From the JSON file of a cohort that was begun.

        Raises:
            StorageError: it cannot be read.
            DataError: it is damaged, or another version of brainldm wrote it otherwise.
        """
        expected = "the settings of a cohort that `brainldm cohort run` began"
        try:
            return cls.model_validate(read_json(file, expected))
        except ValidationError as error:
            wrong = "; ".join(wrong_fields(error))
            raise DataError(f"{file} is not as expected: {wrong}. Expected {expected}.") from error

    def to_json(self) -> dict[str, Any]:
        """What `read` takes."""
        return self.model_dump(mode="json", exclude_none=True)

    def differences(self, wanted: Settings) -> list[str]:
        """What others have otherwise, a line each."""
        return sorted(_differences(self.to_json(), wanted.to_json()))


def _differences(found: Any, wanted: Any, at: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        names = found.keys() | wanted.keys()
        return [
            line
            for name in names
            for line in _differences(found.get(name), wanted.get(name), f"{at} {name}".strip())
        ]
    return [] if found == wanted else [f"{at}: {found} there, {wanted} now"]
