"""Fetching, against a host on this machine that behaves and misbehaves."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from brainldm.checkpoint import fetch as module
from brainldm.checkpoint.fetch import RemoteFile, cache_dir, fetch
from brainldm.errors import StorageError
from tests.host import CONTENT, MD5, Host, serve


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    with serve(monkeypatch) as host:
        yield host


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
    with pytest.raises(StorageError) as error:
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
    with pytest.raises(StorageError) as error:
        fetch(host.file(), tmp_path)
    message = str(error.value)
    assert f"{host.address}/file: this is not the file, but {len(CONTENT):,} bytes" in message
    assert f"expected md5:{MD5} but got {got}. Deleted download" in message
    assert names(tmp_path) == []
    assert len(host.asked) == 1


def test_a_hash_may_be_sha256(host: Host, tmp_path: Path) -> None:
    right, wrong = (f"sha256:{hashlib.sha256(c).hexdigest()}" for c in (CONTENT, b""))
    assert fetch(replace(host.file(), hash=right), tmp_path).read_bytes() == CONTENT
    fetch(replace(host.file(), hash=right), tmp_path)
    assert len(host.asked) == 1
    with pytest.raises(StorageError, match=f"expected {wrong} but got"):
        fetch(replace(host.file(name="other"), hash=wrong), tmp_path)
    assert names(tmp_path) == ["model.pt"]


def test_a_damaged_file_is_fetched_again(host: Host, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(CONTENT[:1000])
    fetch(host.file(), tmp_path)
    assert (tmp_path / "model.pt").read_bytes() == CONTENT


def test_a_file_put_there_by_hand_that_is_not_it(host: Host, tmp_path: Path) -> None:
    host.statuses = [404]
    (tmp_path / "model.pt").write_bytes(CONTENT[:1000])
    with pytest.raises(StorageError, match=rf"{tmp_path}/model.pt: damaged, expected md5:{MD5}"):
        fetch(host.file(), tmp_path)


def test_a_web_page_in_place_of_the_file(host: Host, tmp_path: Path) -> None:
    host.html, host.content = True, b"<!DOCTYPE html><title>Virus scan warning</title>"
    with pytest.raises(StorageError, match="a web page where a file was expected, as Google") as e:
        fetch(host.file(), tmp_path)
    assert "open one of the addresses in a browser" in str(e.value)
    assert names(tmp_path) == []
    assert len(host.asked) == 1


def test_no_such_file(host: Host, tmp_path: Path) -> None:
    host.statuses = [404]
    with pytest.raises(StorageError, match="the host answered 404 Not Found"):
        fetch(host.file(), tmp_path)
    assert len(host.asked) == 1


def test_a_busy_host_is_asked_again(host: Host, tmp_path: Path) -> None:
    host.statuses = [503, 429]
    fetch(host.file(), tmp_path)
    assert len(host.asked) == 3


def test_a_host_that_stays_busy(host: Host, tmp_path: Path) -> None:
    host.statuses = [503] * 100
    with pytest.raises(StorageError, match="503 Service Unavailable, at the last of 5 attempts"):
        fetch(host.file(), tmp_path)
    assert len(host.asked) == 5


def test_the_second_address(host: Host, tmp_path: Path) -> None:
    host.statuses = [404]
    fetch(host.file(f"{host.address}/second"), tmp_path)
    assert (tmp_path / "model.pt").read_bytes() == CONTENT


def test_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    file = RemoteFile("model.pt", 1, f"md5:{MD5}", ("http://127.0.0.1:9/file",))
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9/file: .*refused"):
        fetch(file, tmp_path)


def test_disk_full(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match=r"model\.pt\.part: No space left .*BRAINLDM_CACHE"):
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
