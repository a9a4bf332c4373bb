"""Fetching, against a host on this machine that behaves and misbehaves."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from brainldm.checkpoint import download as module
from brainldm.checkpoint.download import (
    RemoteFile,
    cache_dir,
    download,
    fetch,
    notice,
    published_dir,
)
from brainldm.errors import BrainLDMError

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several chunks
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


@dataclass
class Host:
    """What the host does, and what it was asked."""

    address: str = ""
    content: bytes = CONTENT
    cuts: list[int] = field(default_factory=list)
    """Bytes after which each of the first requests is cut."""
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    """What the first requests are answered with."""
    html: bool = False
    length: bool = True
    asked: list[str | None] = field(default_factory=list)
    """The Range header of each request."""

    def file(self, *more: str, name: str = "model.pt") -> RemoteFile:
        return RemoteFile(name, len(CONTENT), MD5, (f"{self.address}/file", *more))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    host = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            host.asked.append(asked)
            if host.statuses:
                self.send_error(host.statuses.pop(0))
                return
            body, start = host.content, 0
            if asked and host.ranges:
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
                if start >= len(body):
                    self.send_error(416)
                    return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Type", "text/html; charset=utf-8" if host.html else "x/y")
            if host.length:
                self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end = host.cuts.pop(0) if host.cuts else len(body)
            self.wfile.write(body[start : start + end])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(module, "PAUSE", 0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield host
    server.shutdown()
    server.server_close()
    thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetch(host: Host, tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    path = fetch(host.file(), tmp_path, lambda *call: calls.append(call))
    assert path == tmp_path / "model.pt"
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["model.pt"]
    done = [call[0] for call in calls]
    assert done == sorted(set(done))
    assert calls[-1] == (len(CONTENT), len(CONTENT), "model.pt")
    assert {call[1:] for call in calls} == {(len(CONTENT), "model.pt")}
    assert host.asked == [None]


def test_what_is_there_is_not_fetched_again(host: Host, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(CONTENT)
    fetch(host.file(), tmp_path)
    assert host.asked == []


def test_a_cut_transfer_continues_where_it_ended(host: Host, tmp_path: Path) -> None:
    host.cuts = [2_000_000, 100]
    calls: list[tuple[int, int, str]] = []
    fetch(host.file(), tmp_path, lambda *call: calls.append(call))
    assert host.asked == [None, "bytes=2000000-", "bytes=2000100-"]
    assert (tmp_path / "model.pt").read_bytes() == CONTENT
    assert {total for _, total, _ in calls} == {len(CONTENT)}


def test_the_next_call_continues_too(host: Host, tmp_path: Path) -> None:
    host.cuts = [100_000] * module.ATTEMPTS
    with pytest.raises(BrainLDMError) as error:
        fetch(host.file(), tmp_path)
    message = str(error.value)
    assert "Could not fetch model.pt" in message
    assert f"ended early, at the last of {module.ATTEMPTS} attempts; 0.5 MB are kept" in message
    assert "Run the same again to continue" in message
    assert f"put the file into {tmp_path} as model.pt" in message
    assert len(host.asked) == module.ATTEMPTS
    assert names(tmp_path) == ["model.pt.part"]

    host.asked.clear()
    fetch(host.file(), tmp_path)
    assert host.asked == ["bytes=500000-"]
    assert (tmp_path / "model.pt").read_bytes() == CONTENT


def test_a_host_that_ignores_ranges_starts_over(host: Host, tmp_path: Path) -> None:
    host.ranges, host.cuts = False, [2_000_000]
    fetch(host.file(), tmp_path)
    assert host.asked == [None, "bytes=2000000-"]
    assert (tmp_path / "model.pt").read_bytes() == CONTENT


def test_a_host_that_does_not_tell_the_length(host: Host, tmp_path: Path) -> None:
    host.length = False
    calls: list[tuple[int, int, str]] = []
    fetch(host.file(), tmp_path, lambda *call: calls.append(call))
    assert calls[-1] == (len(CONTENT), len(CONTENT), "model.pt")


def test_everything_was_there_but_the_name(host: Host, tmp_path: Path) -> None:
    (tmp_path / "model.pt.part").write_bytes(CONTENT)
    fetch(host.file(), tmp_path)
    assert host.asked == [f"bytes={len(CONTENT)}-"]
    assert names(tmp_path) == ["model.pt"]


def test_a_corrupt_file_is_removed(host: Host, tmp_path: Path) -> None:
    host.content = CONTENT[:-1] + b"x"
    got = hashlib.md5(host.content, usedforsecurity=False).hexdigest()
    with pytest.raises(BrainLDMError) as error:
        fetch(host.file(), tmp_path)
    message = str(error.value)
    assert f"{host.address}/file: this is not the file" in message
    assert f"expected MD5 {MD5}, got {got} ({len(CONTENT):,} bytes); removed" in message
    assert names(tmp_path) == []
    assert len(host.asked) == 1


def test_a_damaged_file_is_fetched_again(host: Host, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(CONTENT[:1000])
    fetch(host.file(), tmp_path)
    assert (tmp_path / "model.pt").read_bytes() == CONTENT


def test_a_file_put_there_by_hand_that_is_not_it(host: Host, tmp_path: Path) -> None:
    host.statuses = [404]
    (tmp_path / "model.pt").write_bytes(CONTENT[:1000])
    with pytest.raises(BrainLDMError, match=rf"{tmp_path}/model.pt: damaged, expected MD5 {MD5}"):
        fetch(host.file(), tmp_path)


def test_a_web_page_in_place_of_the_file(host: Host, tmp_path: Path) -> None:
    host.html, host.content = True, b"<!DOCTYPE html><title>Virus scan warning</title>"
    with pytest.raises(BrainLDMError, match="a web page where a file was expected, as Google") as e:
        fetch(host.file(), tmp_path)
    assert "open one of the addresses in a browser" in str(e.value)
    assert names(tmp_path) == []
    assert len(host.asked) == 1


def test_no_such_file(host: Host, tmp_path: Path) -> None:
    host.statuses = [404]
    with pytest.raises(BrainLDMError, match="the host answered 404 Not Found"):
        fetch(host.file(), tmp_path)
    assert len(host.asked) == 1


def test_a_busy_host_is_asked_again(host: Host, tmp_path: Path) -> None:
    host.statuses = [503, 429]
    fetch(host.file(), tmp_path)
    assert len(host.asked) == 3


def test_a_host_that_stays_busy(host: Host, tmp_path: Path) -> None:
    host.statuses = [503] * 100
    with pytest.raises(BrainLDMError, match="503 Service Unavailable, at the last of 5 attempts"):
        fetch(host.file(), tmp_path)
    assert len(host.asked) == 5


def test_the_second_address(host: Host, tmp_path: Path) -> None:
    host.statuses = [404]
    fetch(host.file(f"{host.address}/second"), tmp_path)
    assert (tmp_path / "model.pt").read_bytes() == CONTENT


def test_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    file = RemoteFile("model.pt", 1, MD5, ("http://127.0.0.1:9/file",))
    with pytest.raises(BrainLDMError, match=r"127\.0\.0\.1:9/file: .*refused"):
        fetch(file, tmp_path)


def test_disk_full(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(BrainLDMError, match=r"model\.pt\.part: No space left .*BRAINLDM_CACHE"):
        fetch(host.file(), tmp_path)
    assert len(host.asked) == 1  # not taken for a failure of the network


def test_interrupted_by_the_user(host: Host, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(host.file(), tmp_path, interrupt)
    assert names(tmp_path) == ["model.pt.part"]
    fetch(host.file(), tmp_path)
    assert host.asked[1] is not None
    assert (tmp_path / "model.pt").read_bytes() == CONTENT


def test_download(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = (host.file(name="autoencoder.pt"), host.file(name="model.pt"))
    monkeypatch.setattr(module, "PUBLISHED_FILES", files)
    monkeypatch.setenv("BRAINLDM_CACHE", str(tmp_path / "cache"))
    calls: list[tuple[int, int, str]] = []
    folder = download(progress=lambda *call: calls.append(call))
    assert folder == tmp_path / "cache" / "published" == published_dir()
    assert names(folder) == ["autoencoder.pt", "model.pt"]
    assert [name for _, _, name in calls] == sorted(name for _, _, name in calls)
    assert download(tmp_path / "other") == tmp_path / "other" / "published"


def test_notice_tells_size_place_and_licence(tmp_path: Path) -> None:
    text = notice(tmp_path)
    assert "autoencoder.pt (55.1 MB), model.pt (2.2 GB)" in text
    assert "Size: 2.3 GB" in text
    assert str(tmp_path / "published") in text
    assert "Licence: Apache-2.0" in text
    assert "UK Biobank" in text


def test_the_published_files_are_the_documented_ones(root: Path) -> None:
    text = (root / "docs" / "checkpoints.md").read_text()
    for file in module.PUBLISHED_FILES:
        assert f"`{file.md5}` (`{file.name}`)" in text.replace("\n", " ")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"BRAINLDM_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/brainldm"),
        ({}, "/home/someone/.cache/brainldm"),
    ],
)
def test_cache(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for name in ("BRAINLDM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)
