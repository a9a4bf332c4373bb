"""The folder of a run: what it was begun with, and what it has so far."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainldm.errors import UsageError
from brainldm.files import read_json, remove_partial, to_json, write_together
from brainldm.files.filling import filling
from brainldm.train.first_stage import DESCRIPTION, RUN

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class RunFolder:
    """A folder that one run fills, and resumes in."""

    path: Path

    @property
    def state(self) -> Path:
        """What a run resumes from."""
        return self.path / "state.pt"

    @property
    def logs(self) -> Path:
        """What a tracker writes."""
        return self.path / "logs"

    @property
    def model(self) -> Path:
        """The finished model, of stage 2."""
        return self.path / "models"

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return os.path.isfile(self.path / DESCRIPTION) or os.path.isfile(self.model / "config.json")

    def kept(self, what: str, *origin: object) -> Path:
        """A place for what took long to make, of one origin: which models, which heads, and how."""
        key = hashlib.sha256(" ".join(map(str, origin)).encode()).hexdigest()
        return self.path / f"{what}-{key[:16]}"

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes from filling it; errors as `filling`."""
        return filling(self.path, self.path / RUN, "a run")

    @contextmanager
    def held(self, accelerator: Accelerator, configuration: Mapping[str, Any]) -> Iterator[None]:
        """Open it as one of a run's processes, while no other run has it.

        Raises:
            BrainLDMError: as `alone` and `open`.
        """
        with self.alone() if accelerator.is_main_process else nullcontext():
            with accelerator.main_process_first():
                self.open(configuration)
            yield

    def open(self, configuration: Mapping[str, Any]) -> None:
        """Begin a run, or resume the one that is there if it has a state.

        Args:
            configuration: all that decides what the weights become.

        Raises:
            UsageError: the folder holds a run of another configuration.
            StorageError: it cannot be read or written.
            DataError: its description is damaged.
        """
        wanted = json.loads(json.dumps(configuration))
        path = self.path / RUN
        # Until there is a state nothing is lost, and settings may be corrected.
        if os.path.isfile(path) and (os.path.exists(self.state) or self.finished):
            was = read_json(path, "what brainldm wrote when the run began; copy it again")
            if differences := list(_differences(was, wanted)):
                raise UsageError(
                    f"{self.path} holds a run of another configuration:\n"
                    + "\n".join(f"  {line}" for line in differences[:8])
                    + "\nTo resume it give the settings that it was begun with, or choose another "
                    "--out."
                )
            remove_partial(self.path)
            return
        remove_partial(self.path)
        write_together({path: to_json(wanted)})


def _differences(was: Any, now: Any, path: str = "") -> Iterator[str]:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in was | now:
            yield from _differences(was.get(key), now.get(key), f"{path}.{key}".lstrip("."))
    elif was != now:
        yield f"{path}: it was begun with {_short(was)}, now {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
