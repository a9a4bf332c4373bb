"""Fetching the published weights: resumable, verified, and only when asked.

The files are those that the MONAI model zoo's bundle `brain_image_synthesis_latent_diffusion_model`
lists, with its MD5 sums. They are tried at MONAI's page on Hugging Face first, which resumes
transfers plainly, and on Google Drive, where the bundle points, second. Both hosts are out of the
reach of this project's tests, which use a server of their own: the addresses were never tried by
them. MD5 protects from damage, not from forgery; the loader runs nothing that is in the files.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from brainldm._version import __version__
from brainldm.errors import BrainLDMError
from brainldm.files import make_folder

Progress = Callable[[int, int, str], None]

_HUGGING_FACE = "https://huggingface.co/MONAI/brain_image_synthesis_latent_diffusion_model"
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
LICENCE = (
    "Apache-2.0, as the bundle in the MONAI model zoo that the weights belong to "
    f"({_HUGGING_FACE}/blob/main/LICENSE; read it). Copyright (c) MONAI Consortium. Trained on "
    "data of UK Biobank. A research tool, not to be used clinically. Cite Pinaya et al. 2022, "
    "arXiv 2209.07162."
)

ATTEMPTS = 5
"""How often one address is tried; each time continues where the last ended."""
PAUSE = 1.0
"""Seconds before the second attempt; doubled before each further one."""
TIMEOUT = 60
"""Seconds of silence after which a host counts as gone."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: its name, approximate size in bytes, MD5, and addresses to try in turn."""

    name: str
    size: int
    md5: str
    urls: tuple[str, ...]


PUBLISHED_FILES = (
    RemoteFile(
        "autoencoder.pt",
        55_100_000,
        "329e97b3085643ff235f11f049856242",
        (
            f"{_HUGGING_FACE}/resolve/main/models/autoencoder.pt",
            f"{_DRIVE}1CZHwxHJWybOsDavipD0EorDPOo_mzNeX",
        ),
    ),
    RemoteFile(
        "model.pt",
        2_210_000_000,
        "21c3047556fb671caf0556f1cce6ef22",
        (
            f"{_HUGGING_FACE}/resolve/main/models/model.pt",
            f"{_DRIVE}1XO-ak93ZuOcGTCpgRtqgIeZq3dG5ExN6",
        ),
    ),
)


def cache_dir() -> Path:
    """Where fetched files are kept: $BRAINLDM_CACHE, $XDG_CACHE_HOME/brainldm, ~/.cache/brainldm"""
    if own := os.environ.get("BRAINLDM_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "brainldm"


def published_dir(cache: str | Path | None = None) -> Path:
    """The directory of the published weights in the cache, there or not."""
    return Path(cache or cache_dir()) / "published"


def notice(cache: str | Path | None = None) -> str:
    """What `download` would fetch, how large it is, to where, and under which licence."""
    files = ", ".join(f"{file.name} ({_megabytes(file.size)})" for file in PUBLISHED_FILES)
    return (
        f"The published weights: {files}, to {published_dir(cache)}\n"
        f"Size: {_megabytes(sum(file.size for file in PUBLISHED_FILES))}\n"
        f"Licence: {LICENCE}"
    )


def download(cache: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Fetch the published weights, or what is missing of them.

    Show `notice()` before. An interrupted transfer continues at the next call.

    Args:
        cache: folder to keep them in; `cache_dir()` if None.
        progress: called as progress(done, total, name) with bytes of the file `name`; total is the
            host's word, or the approximate size where it gives none.

    Returns:
        The directory, which `load_model` loads; for the default cache, "published" is its name.

    Raises:
        BrainLDMError: no address of a file answers with that file, or it cannot be written.
    """
    folder = published_dir(cache)
    make_folder(folder)
    for file in PUBLISHED_FILES:
        fetch(file, folder, progress)
    return folder


def fetch(file: RemoteFile, folder: Path, progress: Progress | None = None) -> Path:
    """Fetch one file into `folder` by way of `NAME.part`, unless it is there and whole.

    Raises:
        BrainLDMError: as `download`, with what went wrong at each address.
    """
    target, part = folder / file.name, folder / f"{file.name}.part"
    failures = []
    if target.exists():
        got = _md5(target)
        if got == file.md5:
            return target
        failures.append(f"  {target}: damaged, expected MD5 {file.md5}, got {got}")
    for url in file.urls:
        try:
            _transfer(url, part, file, progress)
            _verify(part, file)
        except _SourceError as error:
            failures.append(f"  {url}: {error}")
            continue
        with _disk(part):
            part.replace(target)
        return target
    raise BrainLDMError(
        f"Could not fetch {file.name}:\n" + "\n".join(failures) + "\n"
        "Run the same again to continue, or open one of the addresses in a browser, put the file "
        f"into {folder} as {file.name}, and run the same again to verify it."
    )


class _SourceError(Exception):
    """An address does not give the file; there may be another."""


def _transfer(url: str, part: Path, file: RemoteFile, progress: Progress | None) -> None:
    """Bring `part` to the file's full length, continuing what is there."""
    failure = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            if _continue(url, part, file, progress):
                return
            failure = "the connection ended early"
        except urllib.error.HTTPError as error:
            error.close()
            failure = f"the host answered {error.code} {error.reason}"
            if error.code < 500 and error.code != http.HTTPStatus.TOO_MANY_REQUESTS:
                raise _SourceError(failure) from error
        except (OSError, http.client.HTTPException) as error:
            failure = str(getattr(error, "reason", None) or error or type(error).__name__)
    kept = part.stat().st_size if part.exists() else 0
    raise _SourceError(
        f"{failure}, at the last of {ATTEMPTS} attempts; {_megabytes(kept)} are kept to continue"
    )


def _continue(url: str, part: Path, file: RemoteFile, progress: Progress | None) -> bool:
    """Ask for what is missing in `part` and add it; False if the connection ended early.

    Raises:
        OSError, HTTPException: the network failed.
        _SourceError: the host sent a page instead of the file.
        BrainLDMError: the disk failed.
    """
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"brainldm/{__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        return True  # nothing is missing; whether it is the right file, its hash will tell
    with response:
        if response.headers.get_content_type() == "text/html":
            raise _SourceError(
                "the host sent a web page where a file was expected, as Google Drive does to ask "
                "for confirmation or when too many people fetch the file"
            )
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0  # the host ignored the range and sends everything
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        done = start
        with _disk(part):
            out = part.open("ab" if start else "wb")
        with out:
            while chunk := response.read(_CHUNK):
                with _disk(part):
                    out.write(chunk)
                    out.flush()
                done += len(chunk)
                if progress:
                    progress(done, total or max(done, file.size), file.name)
            with _disk(part):
                os.fsync(out.fileno())
    return total is None or done >= total


@contextmanager
def _disk(part: Path) -> Iterator[None]:
    """Tell a failing disk, which ends the download, from a failing network, which is retried."""
    try:
        yield
    except OSError as error:
        raise BrainLDMError(
            f"Cannot write {part}: {error.strerror}. Free some space, or choose another folder for "
            "the cache with BRAINLDM_CACHE, and run the same again; what was fetched is kept."
        ) from error


def _verify(part: Path, file: RemoteFile) -> None:
    """Remove `part` and raise _SourceError if it is not the file."""
    got = _md5(part)
    if got != file.md5:
        size = part.stat().st_size
        part.unlink()
        raise _SourceError(
            f"this is not the file: expected MD5 {file.md5}, got {got} ({size:,} bytes); removed"
        )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
