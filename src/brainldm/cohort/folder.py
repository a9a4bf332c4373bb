"""The data set on disk, from the moment when it is begun to the one when it is finished.

code/plan.tsv, .json   code/cohort.json   code/model.json    what was asked for, how it is made
code/SHA256SUMS                                              of these, as sha256sum checks them
sub-LABEL/anat/sub-LABEL_space-MNI152NLin2009aSym_T1w.nii.gz, .json
.brainldm/                                                   what is needed until it is finished
manifest.jsonl and all that `cohort.describe` names          once it is

The folder `code` appears at once and whole, and with it the cohort is begun: of two that begin at
the same moment the second finds the first one's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from brainldm.cohort.describe import MANIFEST, SHEET, SUMMARY
from brainldm.cohort.plan import Plan
from brainldm.cohort.records import Journal, Record, Records, hold
from brainldm.cohort.settings import Settings
from brainldm.config import ModelConfig
from brainldm.dataset.bids import dseg, t1w
from brainldm.errors import DataError, StorageError, UsageError
from brainldm.files import (
    is_partial,
    make_folder,
    read_text,
    remove_partial,
    sha256,
    to_json,
    write_folder,
    write_together,
)
from brainldm.files.filling import refuse_others
from brainldm.image.labels import LabelImage
from brainldm.image.nifti import nifti_bytes
from brainldm.image.volume import Volume

SUMS = "SHA256SUMS"
RESTORE = "Put back what was there, or begin in another folder."


class CohortFolder:
    """A data set of synthetic heads, and how far it is.

    Args:
        out: the folder; it need not be there before `begin`.
    """

    def __init__(self, out: Path) -> None:
        self.out = out.absolute()
        self.manifest = self.out / MANIFEST
        self.sheet = self.out / SHEET
        self.work = self.out / ".brainldm"
        self._code = self.out / "code"

    @property
    def is_begun(self) -> bool:
        """Whether there is a cohort."""
        return os.path.isfile(self._code / "cohort.json")

    def begin(self, settings: Settings, config: ModelConfig, plan: Plan) -> Plan:
        """Begin a cohort, or resume the one that is there.

        Returns:
            The plan as the folder keeps it.

        Raises:
            UsageError: something else is there, or a cohort with other settings.
            DataError: what it was begun with was changed since.
            StorageError: the folder cannot be written.
        """
        if not self.is_begun:
            expected = "a cohort begun with the same plan, model and options"
            refuse_others(self.out, self._code / "cohort.json", expected, (self.work.name,))
            with write_folder(self._code, keep=True) as code:
                for file in (plan.table.file, plan.table.file.with_suffix(".json")):
                    if os.path.isfile(file):
                        shutil.copyfile(file, code / f"plan{file.suffix}")
                (code / "model.json").write_text(config.to_json(), encoding="utf-8")
                (code / "cohort.json").write_bytes(to_json(settings.to_json()))
                (code / SUMS).write_bytes(_sums(code))
        if differ := self.settings.differences(settings):
            raise UsageError(
                f"{self.out} holds another cohort, which differs in:\n  "
                + "\n  ".join(differ)
                + "\nChoose another folder, or ask for what was asked before."
            )
        self.check()
        make_folder(self.work)
        return plan.at(self._code / f"plan{plan.table.file.suffix}")

    def check(self) -> None:
        """Refuse a cohort whose plan, model or settings are not those that it was begun with.

        Raises:
            DataError: a file in `code` was changed, added or taken away.
            StorageError: one cannot be read.
        """
        file = self._code / SUMS
        try:
            written = file.read_bytes()
        except OSError as error:
            raise StorageError(f"Cannot read {file}: {error.strerror}. {RESTORE}") from error
        expected, got = (set(each.splitlines()) for each in (written, _sums(self._code)))
        names = sorted(
            {line.partition(b"  ")[2].decode(errors="replace") for line in expected ^ got}
        )
        if names:
            raise DataError(
                f"{', '.join(names)} in {self._code} changed since the cohort was begun: expected "
                f"the SHA-256 in {SUMS}. {RESTORE}"
            )

    @cached_property
    def settings(self) -> Settings:
        """What the cohort was begun with.

        Raises:
            UsageError: there is no cohort.
            StorageError: it cannot be read.
            DataError: it is damaged.
        """
        if not self.is_begun:
            raise UsageError(
                f"{self.out} holds no cohort. Expected a folder that `brainldm cohort run` made."
            )
        return Settings.read(self._code / "cohort.json")

    @cached_property
    def config(self) -> ModelConfig:
        """The model that it is made with.

        Raises:
            StorageError: it cannot be read.
            DataError: it is damaged.
        """
        file = self._code / "model.json"
        expected = "the cohort's model; put back what was there, or begin in another folder"
        return ModelConfig.from_json(read_text(file, expected), str(file))

    def journal(self, name: str) -> Journal:
        """What one process adds to, which no other may have at the time."""
        return Journal(self.work / f"{name}.jsonl")

    def records(self) -> Records:
        """All that is known to be done; a journal counts more than the manifest."""
        return Records((self.manifest, *self._journals()), self.settings.plan.rows)

    def _journals(self) -> list[Path]:
        return sorted(self.work.glob("*.jsonl"))

    def summary(self, part: str | None = None) -> Path:
        """The file that says how far a part is, or the whole."""
        return self.work / f"{part}-summary.json" if part else self.out / SUMMARY

    def image(self, label: str) -> Path:
        """The image of a participant."""
        return t1w(self.out, label)[0]

    def write(self, volume: Volume, record: Record, labels: LabelImage | None = None) -> Record:
        """Write a volume, its sidecar and its labels, if it has any, whole or not at all.

        Returns:
            The record, with their hashes.

        Raises:
            StorageError: they cannot be written.
        """
        image, sidecar = t1w(self.out, record.label)
        remove_partial(image.parent)
        contents = {sidecar: volume.to_sidecar(), image: volume.to_nifti()}
        if labels is not None:
            contents[dseg(self.out, record.label)] = nifti_bytes(labels.array, labels.affine)
        write_together(contents)
        hashes = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
        named = hashes.get(dseg(self.out, record.label), "")
        return replace(record, image=hashes[image], sidecar=hashes[sidecar], labels=named)

    def holds(self, record: Record) -> bool:
        """Whether all files of a record are what they were."""
        image, sidecar = t1w(self.out, record.label)
        files = {image: record.image, sidecar: record.sidecar}
        if record.labels:
            files[dseg(self.out, record.label)] = record.labels
        try:
            return all(sha256(path) == expected for path, expected in files.items())
        except StorageError:
            return False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold every part, so that no process adds to one.

        Raises:
            StorageError: another process has one.
        """
        with ExitStack() as stack:
            for journal in self._journals():
                stack.callback(hold(journal).release)
            yield

    def clear(self) -> None:
        """Take away what is needed no longer once the data set is finished."""
        for folder in (self.out, self._code):
            remove_partial(folder)
        if os.path.isdir(self.work):
            shutil.rmtree(self.work)


def _sums(code: Path) -> bytes:
    """A line for each file in a folder, as sha256sum prints it."""
    files = sorted(path for path in code.iterdir() if path.name != SUMS and not is_partial(path))
    return "".join(f"{sha256(path)}  {path.name}\n" for path in files).encode()
