"""The server's jobs on a Ray cluster are those of one process, whatever happens to its workers."""

from __future__ import annotations

from pathlib import Path

import httpx
import psutil
import pytest

from tests.servers import finish, free_port, heads_of, post, process, served, wait_for

pytest.importorskip("ray")

HEAD = {"kind": "generate", "conditions": {"sex": "F", "age": 65}, "seed": 7, "steps": 4}
LONG = {"kind": "generate", "seed": 1, "steps": 150, "sampler": "ddim"}


def workers(server: int) -> list[psutil.Process]:
    """The actors that belong to a server."""
    return [
        each
        for each in psutil.Process(server).children(recursive=True)
        if "ray::_JobWorker" in " ".join(each.cmdline())
    ]


def test_two_workers_do_what_one_process_does(toy: str, tmp_path: Path) -> None:
    with served(toy, tmp_path / "here") as client:
        [here] = heads_of(client, post(client, HEAD))
        image = client.get(f"/v1/heads/{here['id']}/volume").content
    port = free_port()
    options = ("--ray", "local", "--cores-per-worker", "1")
    with (
        process(toy, tmp_path / "there", port, *options) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        [there] = heads_of(http, post(http, HEAD))
        assert http.get(f"/v1/heads/{there['id']}/volume").content == image
        assert there["command"] == here["command"].replace("here", "there")

        # Two at a time; one is cancelled, and the worker of the other killed.
        first, second = (post(http, {**LONG, "seed": seed}) for seed in (1, 2))
        for job in (first, second):
            wait_for(lambda job=job: http.get(f"/v1/jobs/{job['id']}").json()["done"] > 0)
        assert http.delete(f"/v1/jobs/{first['id']}").status_code == 200
        assert finish(http, first)["state"] == "cancelled"
        for worker in workers(server.pid):
            worker.kill()
        [head] = heads_of(http, second)
        assert head["seed"] == 2
        [again] = heads_of(http, post(http, {**HEAD, "seed": 8}))
        assert again["seed"] == 8
        refused = http.post("/v1/jobs", json={"kind": "label", "head": "none"})
        assert refused.status_code == 404
