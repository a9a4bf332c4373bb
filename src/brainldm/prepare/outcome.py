"""What became of the scans."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from brainldm.dataset.scans import Failure
from brainldm.dataset.sidecar import Provenance
from brainldm.prepare.subjects import Subject


@dataclass(frozen=True)
class Outcome:
    """Of one scan.

    Args:
        subject: whose it is.
        provenance: of the prepared image, as its sidecar says; None if there is none.
        reason: why there is none.
    """

    subject: Subject
    provenance: Provenance | None = None
    reason: str = ""


@dataclass(frozen=True)
class Prepared:
    """A subject whose image is in the data set."""

    subject: Subject
    provenance: Provenance

    @property
    def measured(self) -> dict[str, float]:
        """The covariates that were measured, for the table has none."""
        found = self.provenance.measured
        return {name: found[name] for name in self.subject.missing if name in found}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it."""
        return tuple(f"sub-{self.subject.label}: {note}." for note in self.provenance.notes)

    @property
    def similarity(self) -> float:
        """To the template, from -1 to 1."""
        registration = self.provenance.registration
        return registration.similarity if registration else 0.0

    @property
    def covariates(self) -> dict[str, str | float]:
        """Those that are known now."""
        return {**self.subject.known, **self.measured}


@dataclass(frozen=True)
class Results:
    """Of all scans: those that are in the data set, and those that are not."""

    prepared: tuple[Prepared, ...]
    failures: tuple[Failure, ...]

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Results:
        """Tell failures; one is a scan whose file is another subject's as well."""
        prepared: list[Prepared] = []
        failures: list[Failure] = []
        first: dict[str, Subject] = {}
        for each in outcomes:
            scan, reason = each.subject.scan, each.reason
            if reason and scan.line:
                reason += f" (line {scan.line})"
            if each.provenance:
                source = each.provenance.source
                twin = first.setdefault(source.sha256 if source else "", each.subject)
                if twin is each.subject:
                    prepared.append(Prepared(each.subject, each.provenance))
                    continue
                reason = (
                    f"{scan.path} is the same file as {twin.scan.path}, of subject "
                    f"{twin.label!r}. Remove one: one image can be of one person only."
                )
            failures.append(Failure(scan.subject, str(scan.path), reason))
        return cls(tuple(prepared), tuple(failures))
