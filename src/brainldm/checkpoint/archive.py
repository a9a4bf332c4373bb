"""The archives that torch.save writes: verified by the CRC-32 that they keep of each member.

torch itself compares none of them, so that a flipped bit is loaded as another weight.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from brainldm.errors import ModelError, StorageError

_START = b"PK\x03\x04"
_PIECE = 1 << 20


def check_archive(path: Path) -> None:
    """Read every member of a zip archive to its end; other files pass.

    Files of torch before 1.6 are no archives, and keep nothing to compare with.

    Raises:
        StorageError: it cannot be read.
        ModelError: a member is not what was written, or larger than the file.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_START)) != _START:
                return
            with zipfile.ZipFile(file) as archive:
                _check_sizes(archive, path)
                for member in archive.infolist():
                    with archive.open(member) as content:
                        while content.read(_PIECE):
                            pass
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise unreadable(path, str(error) or "it ends too early") from error


def _check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse members that are packed, or together larger than the file: torch writes neither."""
    members, size = archive.infolist(), path.stat().st_size
    declared = sum(member.file_size for member in members)
    packed = [each.filename for each in members if each.compress_type != zipfile.ZIP_STORED]
    if packed or declared > size:
        what = f"{packed[0]} is compressed" if packed else f"its members declare {declared:,} bytes"
        raise unreadable(path, what)


def unreadable(path: Path, reason: str) -> ModelError:
    """The error for a file that is damaged."""
    return ModelError(
        f"{path} is damaged or not a file of weights: expected what torch.save or safetensors "
        f"wrote, got {path.stat().st_size:,} bytes that cannot be read ({reason}). Copy or "
        "download it again."
    )
