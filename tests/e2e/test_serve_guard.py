"""Nobody but this page and who has the token may drive a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from brainldm.serve.limits import Limits
from tests.servers import HOST, Client, heads_of, post, served

pytest.importorskip("fastapi")

TOKEN = "a-token-of-many-letters"
HEAD = {"kind": "generate", "seed": 7, "steps": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("library")


@pytest.fixture(scope="module")
def client(toy: str, folder: Path) -> Iterator[Client]:
    with served(toy, folder, Limits(upload=10_000, body=2_000)) as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Origin": f"http://{HOST}"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:9"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_other_hosts_and_pages_are_refused(
    client: Client, headers: dict[str, str], status: int
) -> None:
    answer = client.get("/v1/model", headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]


def test_a_link_from_another_page_opens_this_one(client: Client) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = client.get("/", headers=link)
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert client.get("/v1/jobs", headers=link).status_code == 403


@pytest.mark.parametrize(
    "path",
    ["/page/../app.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/v1/heads/..%2f..%2fx/volume"],
)
def test_no_path_leaves_its_folder(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_link_in_the_library_leads_nowhere(client: Client, folder: Path, tmp_path: Path) -> None:
    [head] = heads_of(client, post(client, HEAD))
    secret = tmp_path / "secret"
    secret.write_text("secret")
    file = folder / "heads" / head["id"] / head["file"]
    file.unlink()
    file.symlink_to(secret)
    answer = client.get(f"/v1/heads/{head['id']}/volume")
    assert answer.status_code == 410
    assert "is gone" in answer.json()["error"]
    assert client.get("/v1/export", params={"id": head["id"]}).status_code == 410


def test_too_much_is_not_read(client: Client, folder: Path) -> None:
    assert client.post("/v1/jobs", content=b"x" * 3_000).status_code == 413
    big, name = b"x" * 20_000, {"name": "t1.nii"}
    assert client.post("/v1/scans", params=name, content=big).status_code == 413
    pieces = (b"x" * 1_000 for _ in range(20))  # without a length
    answer = client.post("/v1/scans", params=name, content=pieces)
    assert answer.status_code == 413
    assert "expected 10000 bytes at most" in answer.json()["error"]
    assert list((folder / "uploads").iterdir()) == []


def test_a_token_is_needed_where_there_is_one(toy: str, tmp_path: Path) -> None:
    with served(toy, tmp_path, token=TOKEN) as client:
        for path in ("/", "/v1/model", "/page/main.js"):
            assert client.get(path).status_code == 401
            wrong = {"Authorization": "Bearer a-token"}
            assert client.get(path, headers=wrong).status_code == 401
            right = {"Authorization": f"Bearer {TOKEN}"}
            assert client.get(path, headers=right).status_code == 200
        assert client.get("/", params={"token": "x"}).status_code == 401
        welcome = client.get("/", params={"token": TOKEN})
        assert welcome.status_code == 303
        assert welcome.headers["location"] == "/"
        assert "HttpOnly" in welcome.headers["set-cookie"]
        assert client.get("/v1/model").status_code == 200  # the cookie is sent back
