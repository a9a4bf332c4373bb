"""Files from elsewhere: fetched when asked for, resumed after an interruption, verified.

pooch verifies a file before it gets its name. It begins an interrupted transfer anew, which hurts
with gigabytes, so that the transfer itself is ours, over requests.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from brainldm._version import __version__
from brainldm.errors import StorageError
from brainldm.files import make_folder
from brainldm.workers import Progress

ATTEMPTS = 5
"""How often one address is tried; each time continues where the last ended."""
PAUSE = 1.0
"""Seconds before the second attempt; doubled before each further one."""
TIMEOUT = 60
"""Seconds of silence after which a host counts as gone."""
_CHUNK = 1 << 20
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE, TOO_MANY_REQUESTS = 206, 416, 429


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Args:
        name: under which it is kept.
        size: in bytes, about.
        hash: "md5:" or "sha256:" and the digits.
        urls: where it can be had, to try in turn.
    """

    name: str
    size: int
    hash: str
    urls: tuple[str, ...]


def cache_dir() -> Path:
    """Where fetched files are kept: $BRAINLDM_CACHE, $XDG_CACHE_HOME/brainldm, ~/.cache/brainldm"""
    if own := os.environ.get("BRAINLDM_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "brainldm"


def fetch(file: RemoteFile, folder: Path, progress: Progress | None = None) -> Path:
    """Fetch one file into a folder by way of `NAME.part`, unless it is there and whole.

    Args:
        file: what to fetch.
        folder: made if missing. An interrupted transfer continues at the next call.
        progress: called as progress(done, total, name) with bytes; total is the host's word, or the
            approximate size where it gives none.

    Returns:
        The file's path.

    Raises:
        StorageError: no address answers with that file, with what went wrong at each, or it cannot
            be written.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")  # its lines would break the progress bar
    make_folder(folder)
    target, part = folder / file.name, folder / f"{file.name}.part"
    failures = []
    if os.path.exists(target):
        algorithm, _, expected = file.hash.partition(":")
        got = pooch.file_hash(target, algorithm)
        if got == expected:
            return target
        failures.append(f"  {target}: damaged, expected {file.hash}, got {got}")
    for url in file.urls:
        try:
            _transfer(url, part, file, progress)
            size = part.stat().st_size
            with _disk(part):
                pooch.retrieve(url, file.hash, file.name, folder, downloader=_found(part))
            return target
        except _SourceError as error:
            failures.append(f"  {url}: {error}")
        except StorageError:
            raise
        except ValueError as error:  # pooch's, which also removed what was fetched
            failures.append(f"  {url}: this is not the file, but {size:,} bytes. {error}")
    raise StorageError(
        f"Could not fetch {file.name}:\n" + "\n".join(failures) + "\n"
        "Run the same again to continue, or open one of the addresses in a browser, put the file "
        f"into {folder} as {file.name}, and run the same again to verify it."
    )


class _SourceError(Exception):
    """An address does not give the file; there may be another."""


class _BusyError(Exception):
    """An address may give the file a little later."""


def _found(part: Path) -> Callable[[str, str, object], object]:
    """A downloader as pooch takes them, of a file that is here already."""
    return lambda url, place, _: part.replace(place)


def _transfer(url: str, part: Path, file: RemoteFile, progress: Progress | None) -> None:
    """Bring `part` to the file's full length, continuing what is there."""
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    failure = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            _continue(url, part, file, progress)
            return
        except (_BusyError, RequestException, HTTPError) as error:
            failure = _cause(error)
    kept = part.stat().st_size if os.path.exists(part) else 0
    raise _SourceError(
        f"{failure}, at the last of {ATTEMPTS} attempts; {megabytes(kept)} are kept to continue"
    )


def _continue(url: str, part: Path, file: RemoteFile, progress: Progress | None) -> None:
    """Ask for what is missing in `part` and add it.

    Raises:
        RequestException, HTTPError: the network failed.
        _BusyError: the host may answer later.
        _SourceError: the host has no such file, or sent a page in place of it.
        StorageError: the disk failed.
    """
    import requests

    start = part.stat().st_size if os.path.exists(part) else 0
    headers = {"User-Agent": f"brainldm/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        status = response.status_code
        if status == RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; whether it is the right file, its hash will tell
        if not response.ok:
            later = status >= 500 or status == TOO_MANY_REQUESTS
            raise (_BusyError if later else _SourceError)(
                f"the host answered {status} {response.reason}"
            )
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise _SourceError(
                "the host sent a web page where a file was expected, as Google Drive does to ask "
                "for confirmation or when too many people fetch the file"
            )
        done = start if status == PARTIAL_CONTENT else 0  # else the host sends everything
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with _disk(part):
            out = part.open("ab" if done else "wb")
        with out:
            # Not `iter_content`, which forgets a part of a chunk when the connection ends.
            while chunk := response.raw.read(_CHUNK):
                with _disk(part):
                    out.write(chunk)
                    out.flush()
                done += len(chunk)
                if progress:
                    progress(done, total or max(done, file.size), file.name)
            with _disk(part):
                os.fsync(out.fileno())


def _cause(error: BaseException) -> str:
    """What lies at the bottom of a failure of the network, in words."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    if type(error).__name__ == "IncompleteRead":
        return "the connection ended early"
    return str(error) or type(error).__name__


@contextmanager
def _disk(part: Path) -> Iterator[None]:
    """Tell a failing disk, which ends the download, from a failing network, which is retried."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"Cannot write {part}: {error.strerror}. Free some space, or choose another folder for "
            "the cache with BRAINLDM_CACHE, and run the same again; what was fetched is kept."
        ) from error


def megabytes(size: int) -> str:
    """A number of bytes, to read."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
