"""The server labels heads of its library, and changes them."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.servers import Client, finish, heads_of, post, served

pytest.importorskip("fastapi")

HEAD = {"kind": "generate", "conditions": {"sex": "F", "age": 65}, "seed": 7, "steps": 2}


@pytest.fixture(scope="module")
def client(toy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with served(toy, tmp_path_factory.mktemp("library")) as client:
        yield client


def image(client: Client, url: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(client.get(url).content))


def test_a_head_is_labelled(client: Client) -> None:
    [head] = heads_of(client, post(client, {**HEAD, "name": "to label"}))
    url = f"/v1/heads/{head['id']}"
    early = client.get(f"{url}/labels")
    assert early.status_code == 409
    assert "no labels" in early.json()["error"]
    job = finish(client, post(client, {"kind": "label", "head": head["id"]}))
    assert job["state"] == "finished", job["error"]
    after = client.get(url).json()
    assert after["quality"] < 0.8
    assert after["faults"]
    assert after["measured"] == {}
    assert (after["name"], after["job"]) == (head["name"], head["job"])
    labels = image(client, f"{url}/labels")
    assert np.array_equal(labels.affine, image(client, f"{url}/volume").affine)
    structures = client.get(f"{url}/structures").json()
    known = {each["number"] for each in structures}
    assert set(np.unique(np.asarray(labels.dataobj))) - {0} <= known
    assert all(each["volume_ml"] is None for each in structures)
    archive = zipfile.ZipFile(
        io.BytesIO(client.get("/v1/export", params={"id": head["id"]}).content)
    )
    assert sum(name.endswith(("_dseg.nii.gz", "_dseg.tsv")) for name in archive.namelist()) == 2


def test_what_is_not_there_cannot_be_labelled(client: Client) -> None:
    assert client.post("/v1/jobs", json={"kind": "label", "head": "none"}).status_code == 404


def test_an_edit_that_cannot_be_is_refused(client: Client) -> None:
    [head] = heads_of(client, post(client, {**HEAD, "name": "to edit"}))

    def refused(**order: Any) -> str:
        answer = client.post("/v1/jobs", json={"kind": "edit", "head": head["id"], **order})
        assert answer.status_code == 422, answer.text
        error: str = answer.json()["error"]
        return error

    assert "no condition height" in refused(changes={"height": 170})
    assert "at least 1 item" in refused(changes={})
    assert "age is 99 years" in refused(changes={"age": 99})
    assert "expected what it is to be" in refused(changes={"sex": "+1"})
    gone = client.post("/v1/jobs", json={"kind": "edit", "head": "none", "changes": {"age": 70}})
    assert gone.status_code == 404
