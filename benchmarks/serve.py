"""A server under load: many clients that ask, look, cancel and go away; and a kill in the middle.

    python benchmarks/serve.py [--clients 100] [--requests 1000]

Prints how long answers took, what was refused, the server's memory before and after, and whether
every job that was taken ended once, before the kill or after it. Also the time of one head when the
server is warm, alone, in float32.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.servers import ENDED, finish, free_port, post, process

HEAD = {"kind": "generate", "conditions": {"age": 60}, "steps": 1}


async def client(
    number: int, requests: int, http: httpx.AsyncClient, taken: list[str], seen: Counter[str]
) -> list[float]:
    """One client: seconds of each of its requests."""
    chance, seconds = random.Random(number), []
    for _ in range(requests):
        what, begun = chance.random(), time.monotonic()
        if what < 0.3:
            key = {"Idempotency-Key": f"{number}-{chance.random()}"}
            answer = await http.post("/v1/jobs", json=HEAD, headers=key)
            if answer.status_code == 202:
                taken.append(id := answer.json()["id"])
                again = await http.post("/v1/jobs", json=HEAD, headers=key)
                assert again.json()["id"] == id
        elif what < 0.4 and taken:
            answer = await http.delete(f"/v1/jobs/{chance.choice(taken)}")
        elif what < 0.5 and taken:  # follows, and goes away
            async with http.stream("GET", f"/v1/jobs/{chance.choice(taken)}/events") as answer:
                async for _line in answer.aiter_lines():
                    break
        elif what < 0.6:
            answer = await http.post("/v1/jobs", json={**HEAD, "conditions": {"age": 1000}})
        else:
            answer = await http.get(chance.choice(("/v1/heads", "/v1/jobs", "/v1/model")))
        seen[str(answer.status_code)] += 1
        seconds.append(time.monotonic() - begun)
    return seconds


async def load(address: str, clients: int, requests: int) -> tuple[list[str], Counter[str]]:
    """All clients at once; the jobs that were taken, and how often each status was answered."""
    taken: list[str] = []
    seen: Counter[str] = Counter()
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as http:
        each = max(1, requests // clients)
        everyone = (client(i, each, http, taken, seen) for i in range(clients))
        seconds = sorted(s for some in await asyncio.gather(*everyone) for s in some)
    median, late = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]
    print(f"{len(seconds)} requests: {median:.3f} s in the middle, {late:.3f} s for 99 of 100")
    print("answers: " + ", ".join(f"{n} x {status}" for status, n in sorted(seen.items())))
    return taken, seen


def memory(server: subprocess.Popen[str]) -> float:
    return float(psutil.Process(server.pid).memory_info().rss / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--requests", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library, port = Path(folder) / "library", free_port()
        address = f"http://127.0.0.1:{port}"
        with process("demo", library, port) as server:
            with httpx.Client(base_url=address, timeout=120) as http:
                begun = time.monotonic()
                finish(http, post(http, {"kind": "generate", "seed": 7}))
                print(f"one head, warm: {time.monotonic() - begun:.1f} s")
            before = memory(server)
            taken, seen = asyncio.run(load(address, asked.clients, asked.requests))
            print(f"memory: {before:.0f} MB before, {memory(server):.0f} MB after")
            server.kill()  # with jobs that run and wait
        with process("demo", library, port), httpx.Client(base_url=address, timeout=120) as http:
            states = Counter(finish(http, {"id": id})["state"] for id in taken)
            heads = Counter(head["job"] for head in http.get("/v1/heads?most=1000").json())
    made = sum(heads[id] for id in taken)
    print(f"jobs taken: {len(taken)}; ended: {dict(states)}; heads of them: {made}")
    assert set(states) <= set(ENDED)
    assert max(heads.values()) == 1
    assert made == states["finished"]
    assert not any(status.startswith("5") for status in seen)


if __name__ == "__main__":
    main()
