"""The MONAI bundle from Python, from elsewhere, and as the model zoo checks it."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from monai.bundle import ConfigWorkflow, load, verify_net_in_out

from brainldm.bundle import Generator
from brainldm.checkpoint import convert
from brainldm.checkpoint.download import PUBLISHED_FILES
from brainldm.errors import UsageError
from tests.documents import ROOT
from tests.toy import write_toy_model

Work = Callable[..., ConfigWorkflow]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundle, with a toy's weights in models/."""
    folder = tmp_path_factory.mktemp("zoo")
    copy = folder / "bundle"
    shutil.copytree(ROOT / "bundle", copy, ignore=shutil.ignore_patterns("models", "output"))
    convert(write_toy_model(folder / "toy"), copy / "models", to="generativemodels")
    return copy


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with warnings.catch_warnings(action="ignore"):  # MONAI's own
        yield


@pytest.fixture
def work(bundle: Path) -> Work:
    def work(**changes: Any) -> ConfigWorkflow:
        workflow = ConfigWorkflow(
            workflow_type="infer", config_file=str(bundle / "configs/inference.json"), **changes
        )
        workflow.initialize()
        return workflow

    return work


def test_a_workflow_has_the_model_of_the_bundle(work: Work, bundle: Path) -> None:
    network = work(bundle_root=str(bundle)).network_def
    assert network.pipeline.config.name == "toy"


def test_load_has_the_model_of_the_bundle(bundle: Path) -> None:
    where = {"model_dir": str(bundle / "models")}
    network = load(
        name=bundle.name,
        bundle_dir=str(bundle.parent),
        workflow_type="inference",
        net_override=where,
    )
    assert network.pipeline.config.name == "toy"


def test_a_bundle_that_nobody_named_is_refused(bundle: Path, work: Work) -> None:
    with pytest.raises(RuntimeError) as error:
        _ = work().network_def
    assert "name it: --bundle_root DIR" in str(cause(error.value))
    with pytest.raises(RuntimeError) as error:
        load(name=bundle.name, bundle_dir=str(bundle.parent), workflow_type="inference")
    assert isinstance(cause(error.value), UsageError)
    with pytest.raises(UsageError, match="expected the bundle's folder"):
        Generator("models")


def cause(error: BaseException) -> BaseException:
    """What MONAI's own exception was raised from in the first place."""
    return cause(error.__cause__) if error.__cause__ else error


def test_a_mistake_is_an_exception(
    work: Work, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = work(bundle_root=str(bundle), age=1.5, steps=1)
    with pytest.raises(Exception, match="Failed to evaluate") as error:
        workflow.run()
    assert "age is 101 years (1.5 normalised)" in str(cause(error.value))
    assert "Error: age is 101 years (1.5 normalised)" in capsys.readouterr().err


def test_the_first_publications_command(work: Work, bundle: Path, tmp_path: Path) -> None:
    out = {"output_dir": str(tmp_path / "out")}
    work(bundle_root=str(bundle), steps=1, seed=1, run_id="save_nii", **out).run()
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1


def test_the_zoos_check_of_shapes(bundle: Path) -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs/metadata.json"),
        config_file=str(bundle / "configs/inference.json"),
        bundle_root=str(bundle),
        steps=1,
    )


def test_the_zoos_check_of_the_folder() -> None:
    """The files that it must have, and the large ones that it fetches, as `download` knows them."""
    for name in ("LICENSE", "configs/metadata.json", "configs/inference.json", "docs/README.md"):
        assert (ROOT / "bundle" / name).is_file()
    large = yaml.safe_load((ROOT / "bundle/large_files.yml").read_text())["large_files"]
    assert [
        {"path": f"models/{file.name}", "url": file.urls[0], "hash": file.hash}
        for file in PUBLISHED_FILES
    ] == [
        {**{key: each[key] for key in ("path", "url")}, "hash": f"md5:{each['hash_val']}"}
        for each in large
    ]
    assert {each["hash_type"] for each in large} == {"md5"}
