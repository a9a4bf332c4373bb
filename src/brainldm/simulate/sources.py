"""Where anatomies come from: a folder of label maps, or the template; made once, and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from brainldm.errors import UsageError, require
from brainldm.image.reading import image_sha256
from brainldm.simulate.anatomy import FORMAT, Anatomy, from_label_map
from brainldm.simulate.labelmap import find_label_maps, read_label_map
from brainldm.simulate.template import NAME, template_anatomy
from brainldm.workers import as_finished

KEPT = 3
"""Anatomies that a process keeps in memory, 80 MB each."""


@dataclass(frozen=True)
class Source:
    """What an anatomy is made of.

    Args:
        name: of the anatomy.
        label_map: its file; None for the template.
    """

    name: str
    label_map: Path | None

    def file(self, cache: Path) -> Path:
        """Where a cache keeps the anatomy, by what it is made of.

        Raises:
            StorageError: the label map cannot be read.
        """
        file = self.label_map
        made_of = image_sha256(file) if file else f"{NAME}-{version('nilearn')}"
        return cache / f"{made_of}-{FORMAT}.npz"

    def prepare(self, cache: Path) -> Path:
        """The anatomy's file in a cache, made if it is not there.

        Raises:
            StorageError: the label map cannot be read, or the cache not be written.
            DataError: no head can be made of the label map.
        """
        path = self.file(cache)
        if not path.is_file():
            self._make().save(path)
        return path

    def _make(self) -> Anatomy:
        if self.label_map is None:
            return template_anatomy()
        return from_label_map(read_label_map(self.label_map, self.name))


def find_sources(
    label_maps: Path | None, only: Sequence[str] = (), leave_out: Sequence[str] = ()
) -> tuple[Source, ...]:
    """The anatomies of a folder, in the order of their names, or the template alone.

    Args:
        label_maps: a folder of label maps; None takes the template.
        only: names of those to take; all if empty.
        leave_out: names of those not to take.

    Raises:
        UsageError: no anatomy has such a name, or none is left.
        DataError: the folder has no label maps.
        MissingExtraError: nilearn, whose template all heads are aligned to, is not installed.
    """
    require("prepare", "Simulating heads", "nilearn")
    found = find_label_maps(label_maps) if label_maps else {NAME: None}
    unknown = sorted({*only, *leave_out} - set(found))
    if unknown:
        raise UsageError(
            f"There is no anatomy {', '.join(unknown)}: expected names among {', '.join(found)}."
        )
    sources = tuple(
        Source(name, path)
        for name, path in found.items()
        if name not in leave_out and (not only or name in only)
    )
    if not sources:
        raise UsageError(f"No anatomy is left: expected some of {', '.join(found)}.")
    return sources


def prepare_sources(
    sources: Sequence[Source], cache: Path, jobs: int, progress: Callable[[int, int], None]
) -> dict[str, Path]:
    """Make the anatomies that a cache does not have, a minute each.

    Args:
        sources: from `find_sources`.
        cache: where anatomies are kept, by the hash of what they are made of.
        jobs: processes, about 2 GB each.
        progress: called with the number of anatomies that are there, and of all.

    Returns:
        Each anatomy's file, by its name.

    Raises:
        StorageError: a label map cannot be read, or the cache not be written.
        DataError: no head can be made of a label map.
    """
    files = {source.name: source.file(cache) for source in sources}
    missing = [source for source in sources if not files[source.name].is_file()]
    progress(len(sources) - len(missing), len(sources))
    made = as_finished(Source.prepare, [(source, cache) for source in missing], jobs)
    for done, _ in enumerate(made, len(sources) - len(missing) + 1):
        progress(done, len(sources))
    return files


@lru_cache(maxsize=KEPT)
def load_anatomy(path: Path, name: str) -> Anatomy:
    """`Anatomy.load`, keeping the last ones."""
    return Anatomy.load(path, name)
