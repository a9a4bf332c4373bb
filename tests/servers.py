"""A server with a toy model, in this process, or in one of its own that may be killed."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.testclient import TestClient

from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Model
from brainldm.segment.network import Network
from brainldm.serve.app import application
from brainldm.serve.guard import Guard
from brainldm.serve.heads import Library
from brainldm.serve.limits import Limits
from brainldm.serve.work import Work
from tests.segmenters import write_random

ENDED = ("finished", "failed", "cancelled")
HOST = "127.0.0.1:8765"
Client = httpx.Client


@contextmanager
def served(
    source: str | Path,
    folder: Path,
    limits: Limits | None = None,
    token: str | None = None,
) -> Iterator[TestClient]:
    """A client of a server in this process."""
    limits = limits or Limits()
    choice = Model(source=source, device="cpu", dtype="float32")
    library = Library(folder)
    network = Network.of(write_random(folder.with_name("segmenter")))
    work = Work(BrainLDM.load(choice), choice, library, limits, network)
    app = application([work], work.model.config, library, limits)
    guard = Guard(app, frozenset({HOST}), token, limits)
    with TestClient(guard, base_url=f"http://{HOST}", follow_redirects=False) as client:
        wait_for(lambda: client.get("/v1/health/ready").status_code == 200)
        yield client


@contextmanager
def process(
    source: str | Path, folder: Path, port: int, *more: str
) -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own, until it is warm."""
    command = (sys.executable, "-m", "brainldm", "serve", "--no-browser", "--dtype", "float32")
    options = ("--model", str(source), "--out", str(folder), "--port", str(port))
    server = subprocess.Popen([*command, *options, *more], text=True, stdout=subprocess.PIPE)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: is_ready(address) or server.poll() is not None)
        assert server.poll() is None
        yield server
    finally:
        server.kill()
        server.communicate()


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/v1/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for(holds: Any, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def post(client: Client, content: dict[str, Any], **headers: str) -> dict[str, Any]:
    """Hand in a job that has to be taken."""
    answer = client.post("/v1/jobs", json=content, headers=headers)
    assert answer.status_code in (200, 202), answer.text
    job: dict[str, Any] = answer.json()
    return job


def finish(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    """Wait until a job has ended."""
    wait_for(lambda: client.get(f"/v1/jobs/{job['id']}").json()["state"] in ENDED)
    ended: dict[str, Any] = client.get(f"/v1/jobs/{job['id']}").json()
    return ended


def heads_of(client: Client, job: dict[str, Any]) -> list[dict[str, Any]]:
    """What a job made."""
    ended = finish(client, job)
    assert ended["state"] == "finished", ended["error"]
    return [client.get(f"/v1/heads/{id}").json() for id in ended["heads"]]
