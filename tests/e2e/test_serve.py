"""The server does what the command line does, and keeps what it made."""

from __future__ import annotations

import gzip
import io
import json
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from brainldm.conditions import Conditions
from brainldm.dataset.bids import SPACE
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.pipeline.brain import BrainLDM
from brainldm.serve.limits import Limits
from brainldm.simulate.head import picture
from brainldm.simulate.subject import draw_subject
from brainldm.simulate.template import template_anatomy
from tests.commands import Cli
from tests.conftest import Run
from tests.servers import (
    ENDED,
    Client,
    finish,
    free_port,
    heads_of,
    post,
    process,
    served,
    wait_for,
)

pytest.importorskip("fastapi")

PERSON = {"sex": "F", "age": 65, "ventricular_volume_ml": 30, "brain_volume_ml": 1450}
HEAD = {"kind": "generate", "conditions": PERSON, "seed": 7, "steps": 2}
LONG = {"kind": "generate", "seed": 1, "steps": 1000, "sampler": "ddim"}
SWEEP = {"kind": "sweep", "seed": 3, "steps": 2, "condition": "age", "start": 50, "stop": 70}


@pytest.fixture(scope="module")
def client(toy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with served(toy, tmp_path_factory.mktemp("library")) as client:
        yield client


def image(client: Client, head: dict[str, Any]) -> nib.Nifti1Image:
    content = client.get(f"/v1/heads/{head['id']}/volume").content
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def test_a_head_is_the_one_of_the_command_and_of_python(
    client: Client, toy: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [head] = heads_of(client, post(client, HEAD))
    made = client.get(f"/v1/heads/{head['id']}/volume").content
    model = BrainLDM.from_pretrained(toy, "cpu", "float32")
    [volume] = model.generate(Conditions(**PERSON), [7], steps=2)
    assert made == volume.to_nifti()
    sidecar = client.get(f"/v1/heads/{head['id']}/sidecar").json()
    assert sidecar == volume.metadata
    assert sidecar["synthetic"] is True
    assert cli(*shlex.split(head["command"])[1:]).code == 0
    assert (tmp_path / "heads" / head["file"]).read_bytes() == made
    monkeypatch.chdir(tmp_path)
    exec(head["python"], {})
    assert (tmp_path / head["file"]).read_bytes() == made


def test_what_is_left_to_chance_is_in_the_record(client: Client) -> None:
    [head] = heads_of(client, post(client, {"kind": "generate", "steps": 1, "name": "by chance"}))
    assert head["drawn"] == list(PERSON)
    assert head["name"] == "by chance"
    assert 0 <= head["seed"] < 2**31


def test_a_sweep_changes_one_condition(client: Client) -> None:
    heads = heads_of(client, job := post(client, {**SWEEP, "count": 3}))
    assert [head["conditions"]["age"]["value"] for head in heads] == [50, 60, 70]
    others = [{k: v for k, v in head["conditions"].items() if k != "age"} for head in heads]
    assert others[0] == others[1] == others[2]
    arrays = [np.asarray(image(client, head).dataobj) for head in heads]
    assert np.abs(arrays[0] - arrays[2]).max() > np.abs(arrays[0] - arrays[1]).max() > 0
    picture = Image.open(io.BytesIO(client.get(f"/v1/jobs/{job['id']}/animation").content))
    assert picture.n_frames == 4  # there and back


def test_a_job_is_followed_to_its_end(client: Client) -> None:
    job = post(client, {**HEAD, "steps": 8})
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        said = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    assert said[-1]["state"] == "finished"
    far = [each["done"] for each in said if each["phase"] == "denoise"]
    assert far == sorted(far)
    assert client.get("/v1/jobs/none/events").status_code == 404


def test_a_running_job_shows_its_head_and_is_cancelled(client: Client) -> None:
    job, waits = post(client, LONG), post(client, HEAD)
    url = f"/v1/jobs/{job['id']}"
    wait_for(lambda: client.get(f"{url}/preview").status_code == 200)
    picture = Image.open(io.BytesIO(client.get(f"{url}/preview").content))
    assert picture.width > picture.height > 10
    assert client.get(f"/v1/jobs/{waits['id']}").json()["place"] == 1
    assert client.delete(f"/v1/jobs/{waits['id']}").json()["state"] == "cancelled"
    assert client.delete(url).status_code == 200
    assert finish(client, job)["state"] == "cancelled"
    again = client.delete(url)
    assert again.status_code == 409
    assert "has ended" in again.json()["error"]


def test_the_same_key_is_the_same_job(client: Client) -> None:
    order = {"kind": "generate", "steps": 1}  # whose seed is drawn
    first, second = (post(client, order, **{"Idempotency-Key": "once"}) for _ in range(2))
    assert first["id"] == second["id"]
    other = client.post("/v1/jobs", json={**order, "steps": 2}, headers={"Idempotency-Key": "once"})
    assert other.status_code == 409
    assert "another request" in other.json()["error"]
    heads_of(client, first)


def test_the_library_is_searched_renamed_and_cleared(client: Client) -> None:
    [head] = heads_of(client, post(client, {**HEAD, "name": "a_needle%"}))
    found = client.get("/v1/heads", params={"search": "A_NEEDLE%"}).json()
    assert [each["id"] for each in found] == [head["id"]]
    url = f"/v1/heads/{head['id']}"
    assert client.patch(url, json={"name": "hay"}).json()["name"] == "hay"
    assert client.get("/v1/heads", params={"search": "needle"}).json() == []
    picture = Image.open(io.BytesIO(client.get(f"{url}/thumbnail").content))
    assert picture.format == "PNG"
    assert client.delete(url).status_code == 204
    for path in (url, f"{url}/volume", f"{url}/sidecar", f"{url}/thumbnail"):
        assert client.get(path).status_code == 404


def test_an_export_is_a_bids_data_set(client: Client, tmp_path: Path, run: Run) -> None:
    heads = heads_of(client, post(client, {**SWEEP, "count": 2, "name": "Müller, 1"}))
    answer = client.get("/v1/export", params={"id": [head["id"] for head in heads]})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "data")
    result = run("bids-validator-deno", str(tmp_path / "data"), "--json")
    issues = json.loads(result.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    files = sorted((tmp_path / "data").rglob(f"*_space-{SPACE}_T1w.nii.gz"))
    assert len(files) == 2
    first = client.get(f"/v1/heads/{heads[0]['id']}/volume").content
    assert first == files[0].read_bytes()
    assert client.get("/v1/export", params={"id": ["none"]}).status_code == 404


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({**HEAD, "conditions": {"age": 200}}, "age is 200 years"),
        ({**HEAD, "conditions": {"hight": 1}}, "no condition hight"),
        ({**HEAD, "conditions": {"sex": "X"}}, 'expected "F" or "M"'),
        ({**HEAD, "sampler": "euler"}, "Unknown sampler 'euler'"),
        ({**HEAD, "steps": 0}, "greater than or equal to 1"),
        ({**HEAD, "guidance": 2}, "without condition dropout"),
        ({**HEAD, "seed": -1}, "greater than or equal to 0"),
        ({**HEAD, "kind": "scan", "file": "../x"}, "kind"),
        ({**HEAD, "more": 1}, "not permitted"),
        ({**SWEEP, "count": 10_000}, "expected 24 at most"),
        ({**SWEEP, "count": 2, "condition": "sex"}, "A sweep goes over age"),
        ({**SWEEP, "count": 2, "stop": 1e9}, "outside what this model knows"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    client: Client, order: dict[str, Any], says: str
) -> None:
    before = len(client.get("/v1/jobs").json())
    answer = client.post("/v1/jobs", json=order)
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["error"]
    assert len(client.get("/v1/jobs").json()) == before


def test_a_full_queue_says_when_to_come_again(toy: str, tmp_path: Path) -> None:
    with served(toy, tmp_path / "library", Limits(waiting=2)) as client:
        running = post(client, LONG)
        wait_for(lambda: client.get(f"/v1/jobs/{running['id']}").json()["state"] == "running")
        waiting = [post(client, HEAD) for _ in range(2)]
        answer = client.post("/v1/jobs", json=HEAD)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert "2 jobs wait already" in answer.json()["error"]
        for job in (*waiting, running):
            client.delete(f"/v1/jobs/{job['id']}")


def test_a_job_that_takes_too_long_is_ended(toy: str, tmp_path: Path) -> None:
    with served(toy, tmp_path / "library", Limits(seconds=0.2)) as client:
        ended = finish(client, post(client, LONG))
    assert ended["state"] == "failed"
    assert "It took more than 0.2 s" in ended["error"]


def test_a_killed_server_loses_and_doubles_nothing(toy: str, tmp_path: Path) -> None:
    port, ids = free_port(), []
    address = f"http://127.0.0.1:{port}"
    with process(toy, tmp_path / "library", port) as server, httpx.Client(base_url=address) as http:
        done = heads_of(http, post(http, HEAD))
        ids = [post(http, {**HEAD, "seed": seed, "steps": 40})["id"] for seed in range(4)]
        wait_for(lambda: http.get(f"/v1/jobs/{ids[0]}").json()["state"] == "running")
        server.kill()
    with process(toy, tmp_path / "library", port), httpx.Client(base_url=address) as http:
        jobs = [finish(http, {"id": id}) for id in ids]
        assert [job["state"] for job in jobs] == ["finished"] * 4
        heads = http.get("/v1/heads").json()
        assert sorted(head["job"] for head in heads) == sorted([*ids, done[0]["job"]])
        assert len(list((tmp_path / "library" / "heads").iterdir())) == 5


def test_a_second_server_in_the_same_folder_and_on_the_same_port(
    toy: str, tmp_path: Path, cli: Cli
) -> None:
    port = free_port()
    with process(toy, tmp_path / "library", port):
        same = cli("serve", "--model", toy, "--out", str(tmp_path / "a"), "--port", str(port))
        assert same.code == 2
        assert f"Cannot listen on 127.0.0.1, port {port}" in same.err
        library = ("--out", str(tmp_path / "library"))
        twice = cli("serve", "--model", toy, *library, "--port", "0")
        assert twice.code == 2
        assert "Another process serves" in twice.err


@pytest.mark.slow  # registration
def test_a_scan_is_registered_and_reconstructed(tmp_path: Path) -> None:
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -95, -140, -80
    grid = Grid.of((96, 128, 96), affine)
    head = picture(draw_subject(template_anatomy(2.0), 1), grid, "t1w")
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", (8, -5, 12), degrees=True).as_matrix()
    scan = Volume(head.image.numpy(), pose @ grid.matrix)
    with served("demo", tmp_path / "library") as client:
        name, content = {"name": "a b.nii.gz"}, scan.to_nifti()
        sent = client.post("/v1/scans", params=name, content=content).json()
        wait_for(lambda: client.get(f"/v1/jobs/{sent['id']}").json()["state"] in ENDED, 300)
        first, second = heads_of(client, sent)
    assert (first["kind"], second["kind"]) == ("scan", "reconstruction")
    assert first["name"] == "a b"
    assert second["psnr"] > 20
    assert any("registered to MNI152" in note for note in first["notes"])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t1.nii.gz", b"", "Cannot read"),
        ("t1.nii.gz", b"no gzip at all" * 99, "Cannot read"),
        ("t1.nii", b"\x5c\x01\x00\x00" + b"\xff" * 600, "Cannot read"),
        ("t1.mgz", gzip.compress(b"\0" * 600, mtime=0), "Cannot read"),
    ],
    ids=["empty", "no gzip", "no header", "zeros"],
)
def test_damaged_scans_fail_with_a_reason(
    client: Client, name: str, content: bytes, says: str
) -> None:
    ended = finish(client, client.post("/v1/scans", params={"name": name}, content=content).json())
    assert ended["state"] == "failed"
    assert says in ended["error"]


def test_names_of_scans_lead_nowhere(client: Client) -> None:
    for name in ("../../x.nii.gz", "/etc/passwd", "a.exe", "..", "x\0.nii.gz"):
        answer = client.post("/v1/scans", params={"name": name}, content=b"1")
        if name.endswith(".nii.gz"):
            finish(client, answer.json())
        else:
            assert answer.status_code == 422


def test_the_command_says_where_it_is(toy: str, tmp_path: Path) -> None:
    with process(toy, tmp_path / "library", port := free_port()) as server:
        server.send_signal(2)
        said, _ = server.communicate(timeout=60)
    assert f"http://127.0.0.1:{port}/" in said
