"""A host on this machine from which files are fetched; it behaves and misbehaves as it is told."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from brainldm.checkpoint import fetch
from brainldm.checkpoint.fetch import RemoteFile

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
        return RemoteFile(name, len(CONTENT), f"md5:{MD5}", (f"{self.address}/file", *more))


@contextmanager
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """The host, until the end of a test; attempts follow each other without a pause."""
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
    monkeypatch.setattr(fetch, "PAUSE", 0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield host
    server.shutdown()
    server.server_close()
    thread.join()
