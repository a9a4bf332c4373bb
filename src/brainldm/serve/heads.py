"""The heads on disk, each in a folder of its own that anybody can read without the server.

heads/ID/NAME.nii.gz   NAME.json   NAME.png     image, what it is, three slices of it
         NAME_dseg.*                            its labels, as `brainldm segment` writes them
uploads/ID.nii.gz                               scans that wait for the model
"""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from brainldm._version import __version__
from brainldm.dataset.bids import VERSION, dseg, label_of, t1w
from brainldm.dataset.sidecar import OURS
from brainldm.dataset.tsv import write_row
from brainldm.errors import StorageError, UsageError
from brainldm.files import make_folder, read_json, to_json
from brainldm.image.volume import Volume, output_paths
from brainldm.segment.network import Network
from brainldm.segment.structures import column, table
from brainldm.segment.writing import TOTALS, Labeller, dseg_files
from brainldm.serve.schema import Head, Structure

_ID = re.compile(r"[0-9a-f]{32}(-\d{1,3})?")
LABELS = ("labels", "labels names", "labels sidecar", "labels picture")
FRAME_MS = 350
"""Of an animated picture."""


class Library:
    """A folder of heads.

    Args:
        folder: it is made if it is not there.

    Raises:
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.uploads = self.folder / "uploads"
        for each in (self._heads, self.uploads):
            make_folder(each)

    @property
    def _heads(self) -> Path:
        return self.folder / "heads"

    def _place(self, head: Head) -> Path:
        if not _ID.fullmatch(head.id) or Path(head.file).name != head.file:
            raise UsageError(f"{head.id} is no head of this library.")
        return self._heads / head.id / head.file

    def write(self, head: Head, volume: Volume) -> None:
        """Write a head's files; what a killed process left of them is replaced."""
        volume.save(self._place(head), overwrite=True, preview=True)

    def file(self, head: Head, what: str) -> Path:
        """A file of a head.

        Args:
            head: whose.
            what: "volume", "sidecar", "thumbnail", or of `LABELS`.

        Raises:
            StorageError: it is gone, or leads out of the library.
        """
        place = self._place(head)
        names = dict(zip(("volume", "sidecar", "thumbnail"), output_paths(place), strict=True))
        names |= dict(zip(LABELS, dseg_files(place.parent, place), strict=True))
        path = names[what]
        if not path.is_file() or path.resolve() != path:
            raise StorageError(
                f"{path.name} of head {head.id} is gone: it was taken out of the library's folder. "
                "Make it again, or delete the head."
            )
        return path

    def label(self, head: Head, network: Network) -> Head:
        """Label a head; what was learned of it.

        Raises:
            DataError: it is no image of a head.
            StorageError: as `file`, or its labels cannot be written.
        """
        path = self.file(head, "volume")
        Labeller(network, path.parent).write(Volume.load(path, scaled=True), path)
        said = self._said(head)
        measured = {name: said["volumes_ml"][name] for name in TOTALS if name in said["volumes_ml"]}
        return head.model_copy(
            update={"quality": said["quality"], "faults": said["faults"], "measured": measured}
        )

    def structures(self, head: Head) -> list[Structure]:
        """What is labelled in a head, by number; errors as `file`."""
        volumes = self._said(head)["volumes_ml"]
        return [
            Structure(number=n, name=name, colour=colour, volume_ml=volumes.get(column(name)))
            for n, name, _, colour in table()
            if n
        ]

    def _said(self, head: Head) -> dict[str, Any]:
        path = self.file(head, "labels sidecar")
        said: dict[str, Any] = read_json(path, "what says of labels; label the head again")[OURS]
        return said

    def drop(self, head: Head) -> None:
        """Delete a head's files."""
        shutil.rmtree(self._place(head).parent, ignore_errors=True)

    def animation(self, heads: Sequence[Head]) -> bytes:
        """One animated picture (GIF) of the slices of some heads, there and back again."""
        frames = [Image.open(self.file(head, "thumbnail")).convert("L") for head in heads]
        turned = [*frames, *frames[-2:0:-1]]
        content = io.BytesIO()
        turned[0].save(
            content,
            "GIF",
            save_all=True,
            append_images=turned[1:],
            duration=FRAME_MS,
            loop=0,
        )
        return content.getvalue()

    def export(self, heads: Sequence[Head]) -> bytes:
        """A BIDS data set of some heads, as a zip archive.

        Raises:
            StorageError: as `file`.
        """
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
            columns = list(dict.fromkeys(name for head in heads for name in head.conditions))
            table = [write_row(("participant_id", *columns, "seed", "kind", "name"))]
            for number, head in enumerate(heads, 1):
                label = f"{number:03d}{label_of(head.name)[:40]}"
                asked = (head.conditions.get(name, {}).get("value") for name in columns)
                seed = None if head.seed is None else str(head.seed)
                table.append(write_row((f"sub-{label}", *asked, seed, head.kind, head.name)))
                places = (path.relative_to("/") for path in t1w(Path("/"), label))
                for place, what in zip(places, ("volume", "sidecar"), strict=True):
                    archive.write(self.file(head, what), place.as_posix())
                if head.quality is not None:
                    place = dseg(Path(), label)
                    archive.write(self.file(head, "labels"), place.as_posix())
                    names = place.with_name(place.name.replace(".nii.gz", ".tsv"))
                    archive.write(self.file(head, "labels names"), names.as_posix())
            archive.writestr("participants.tsv", b"".join(table))
            archive.writestr("dataset_description.json", to_json(_description(heads)))
            archive.writestr("README.md", _readme(heads))
        return content.getvalue()


def _description(heads: Sequence[Head]) -> dict[str, object]:
    return {
        "Name": "Heads of a brainldm library",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "brainldm", "Version": __version__}],
        "brainldm": {"synthetic": all(head.kind == "synthetic" for head in heads)},
    }


def _readme(heads: Sequence[Head]) -> str:
    synthetic = sum(head.kind == "synthetic" for head in heads)
    return (
        f"# Heads of a brainldm library\n\n{synthetic} of these {len(heads)} heads are synthetic "
        "and show no person; the rest are scans that were sent to the server, and what the "
        "model made of them or changed in them. The JSON file beside each image says which it is.\n"
    )
