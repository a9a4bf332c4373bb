"""The command line but for `generate`: help, models, scans."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import nibabel as nib
import numpy as np
import pytest

from brainldm.checkpoint.download import RemoteFile
from tests.commands import Cli, names, refused
from tests.conftest import Run
from tests.toy import SHAPE


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Keep standard error for what is tested."""


def test_reconstruct(cli: Cli, toy: str, tmp_path: Path) -> None:
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = -80, -110, -70
    scan = np.random.default_rng(0).random((40, 55, 45), dtype=np.float32)
    nib.save(nib.Nifti1Image(1000 * scan, affine), tmp_path / "scan.nii.gz")
    result = cli("reconstruct", "scan.nii.gz", "--model", toy, "--out", "there", "--preview")
    assert result.code == 0, result.err
    psnr, saved = result.out.splitlines()
    assert re.fullmatch(r"PSNR against the scan on the model's grid: -?\d+\.\d\d dB", psnr)
    assert saved == (
        "Saved scan_reconstruction (.nii.gz, .json and .png) in "
        f"{tmp_path / 'there'}; look at scan_reconstruction.png"
    )
    assert nib.load(tmp_path / "there" / "scan_reconstruction.nii.gz").shape == SHAPE
    sidecar = json.loads((tmp_path / "there" / "scan_reconstruction.json").read_text())
    assert sidecar["synthetic"] is False
    assert sidecar["brainldm"]["prepared"]["interpolation"] == "trilinear"
    refused(cli("reconstruct", "scan.nii.gz", "--model", toy, "--out", "there"), "Would overwrite")


def test_reconstruct_what_is_no_scan(cli: Cli, toy: str, tmp_path: Path) -> None:
    (tmp_path / "letter.nii.gz").write_text("Dear reader")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4, 2)), np.eye(4)), tmp_path / "series.nii")
    nib.save(nib.Nifti1Image(np.ones((90, 90, 90)), np.eye(4)), tmp_path / "constant.nii")
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), np.nan), np.eye(4)), tmp_path / "nan.nii")
    far = np.eye(4)
    far[0, 3] = 1000
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4)), far), tmp_path / "far.nii")
    for name, message in (
        ("letter.nii.gz", "Cannot read letter.nii.gz"),
        ("series.nii", "expected three dimensions"),
        ("constant.nii", "empty or constant"),
        ("nan.nii", "64 of the image's 64 values are NaN"),
        ("far.nii", "does not touch the grid"),
        ("missing.nii", "Cannot read missing.nii"),
    ):
        refused(cli("reconstruct", name, "--model", toy, "--out", "out"), message)
    assert not (tmp_path / "out").exists() or names(tmp_path / "out") == []


def test_estimate_of_the_memory(cli: Cli, toy: str) -> None:
    result = cli("info", "--model", toy, "--estimate", "--device", "cpu")
    assert result.code == 0
    assert re.search(r"float32.*: \d+\.\d GB, \d+\.\d GB with --memory low", result.out)
    assert re.search(r"available: \d+\.\d GB", result.out)


def test_the_published_model_is_known_without_its_weights(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINLDM_CACHE", str(tmp_path / "empty"))
    result = cli("info", "--model", "published", "--estimate", "--device", "cpu")
    assert result.code == 0
    assert re.search(r"float32.*: [5-9]\.\d GB, [3-5]\.\d GB with --memory low", result.out)
    assert "160 x 224 x 160" in cli("info", "--model", "published").out
    refused(cli("generate", "--model", "published", "--sex", "X"), 'expected "F" or "M"')
    refused(cli("generate", "--model", "published"), "published weights are not in")


def test_a_warning_is_one_line_for_users(run: Run, toy: str) -> None:
    code = (
        "import sys, warnings; from brainldm import cli; from brainldm.cli import app;"
        "app.app = lambda: warnings.warn('memory is short'); cli.main()"
    )
    result = run(sys.executable, "-c", code)
    assert (result.returncode, result.stderr) == (0, "brainldm: warning: memory is short\n")


def test_info(cli: Cli, toy: str) -> None:
    result = cli("info", "--model", toy)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == "toy"
    for line in (
        "  licence: Apache-2.0",
        "  sex: F (0) or M (1)",
        "  age: 44 to 82 years",
        "  ventricular_volume_ml: 6.99568 to 171.375 mL",
        "  voxels: 32 x 48 x 32",
        "  latent: 3 x 16 x 24 x 16, scale 0.5",
    ):
        assert line in lines
    assert "an assumption of brainldm" in result.out
    assert re.search(r"diffusion U-Net: [\d,]+ parameters, [\d.]+ MB in float32", result.out)


@pytest.mark.parametrize("layout", ["brainldm", "monai", "generativemodels"])
def test_convert_copies_the_model(cli: Cli, toy: str, tmp_path: Path, layout: str) -> None:
    result = cli("convert", toy, "--out", "other", "--to", layout)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == f"Saved {toy} as {layout} in {tmp_path / 'other'}"
    expected = {"autoencoder.safetensors", "unet.safetensors", "config.json"}
    if layout != "brainldm":
        expected = {"autoencoder.pt", "model.pt"}
    assert expected <= set(names(tmp_path / "other"))


def test_download(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (served / "model.pt").write_bytes(b"weights")
    handler = partial(QuietHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/model.pt"
        file = RemoteFile("model.pt", 7, f"md5:{hashlib.md5(b'weights').hexdigest()}", (url,))
        monkeypatch.setattr("brainldm.checkpoint.download.PUBLISHED_FILES", (file,))
        monkeypatch.setenv("BRAINLDM_CACHE", str(tmp_path / "cache"))
        result = cli("download")
        server.shutdown()
    assert result.code == 0, result.err
    # the size and the licence before anything else
    assert "Size: 0.0 MB" in result.out.splitlines()[1]
    assert "Licence: Apache-2.0" in result.out.splitlines()[2]
    assert result.out.splitlines()[-1] == (
        f"Saved in {tmp_path / 'cache' / 'published'}; use them with --model published"
    )
    assert (tmp_path / "cache" / "published" / "model.pt").read_bytes() == b"weights"


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys\nfrom brainldm.cli import main\nsys.argv = ['brainldm', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    for arguments in (("--help",), ("generate", "--help"), ("--version",)):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_every_verb_is_there(run: Run) -> None:
    done = run("brainldm", "--help")
    for verb in ("generate", "reconstruct", "info", "convert", "download"):
        assert re.search(rf"\b{verb}\b", done.stdout)


def test_version(run: Run) -> None:
    from brainldm import __version__

    assert run("brainldm", "--version").stdout == f"brainldm {__version__}\n"
