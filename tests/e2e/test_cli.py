from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brainldm.checkpoint.download import RemoteFile
from brainldm.cli import main
from brainldm.config import Bernoulli, Categorical, Uniform, Variable
from tests.conftest import Run
from tests.toy import PUBLISHED, SHAPE, toy_config, write_toy_model

PERSON = (
    *("--sex", "F"),
    *("--age", "65"),
    *("--ventricular-volume-ml", "30"),
    *("--brain-volume-ml", "1450"),
)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Keep standard error for what is tested."""


@dataclass
class Result:
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_toy_model(tmp_path_factory.mktemp("toy")))


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line in this process and in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def cli(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["brainldm", *arguments])
        with pytest.raises(SystemExit) as exit:
            main()
        captured = capsys.readouterr()
        return Result(int(exit.value.code or 0), captured.out, captured.err)

    return cli


@pytest.fixture
def generate(cli: Cli, toy: str) -> Cli:
    def generate(*arguments: str) -> Result:
        return cli("generate", "--model", toy, "--device", "cpu", *arguments)

    return generate


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(result: Result, *message: str) -> None:
    """Exit code 2, the message without a traceback, and nothing on standard output."""
    assert result.code == 2, result.err
    for part in message:
        assert part in " ".join(result.err.split())
    assert "Traceback" not in result.err
    assert result.out == ""


def test_the_whole_line(generate: Cli, tmp_path: Path) -> None:
    result = generate(
        *PERSON, "--seed", "7", "--number", "2", "--steps", "2", "--sampler", "ddim", "--preview",
        "--out", "heads",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.out.splitlines() == [
        "Seed 7: sex F, age 65.0 years, ventricular volume 30.0 mL, brain volume 1450.0 mL",
        "Seed 8: sex F, age 65.0 years, ventricular volume 30.0 mL, brain volume 1450.0 mL",
        "Saved 2 heads, brain_seed-7_T1w.nii.gz to brain_seed-8_T1w.nii.gz, in "
        f"{tmp_path / 'heads'}",
    ]
    assert names(tmp_path / "heads") == [
        f"brain_seed-{seed}_T1w.{suffix}" for seed in (7, 8) for suffix in ("json", "nii.gz", "png")
    ]

    images = [nib.load(tmp_path / "heads" / f"brain_seed-{seed}_T1w.nii.gz") for seed in (7, 8)]
    for image in images:
        assert image.shape == SHAPE
        assert image.header["sform_code"] == image.header["qform_code"] == 4
        np.testing.assert_allclose(image.affine, toy_config().affine)
    first, second = (image.get_fdata() for image in images)
    assert not np.allclose(first, second)

    sidecar = json.loads((tmp_path / "heads" / "brain_seed-7_T1w.json").read_text())
    assert sidecar["synthetic"] is True
    assert sidecar["brainldm"]["seed"] == 7
    assert sidecar["brainldm"]["sampler"] == {
        "name": "ddim",
        "spacing": "leading",
        "eta": 0.0,
        "guidance": 1.0,
        "steps": 2,
    }
    with Image.open(tmp_path / "heads" / "brain_seed-7_T1w.png") as picture:
        assert picture.width > 3 * picture.height / 2


def test_what_is_left_out_is_drawn_and_said(generate: Cli, tmp_path: Path) -> None:
    result = generate("--age", "65", "--seed", "3", "--steps", "1")
    assert result.code == 0, result.err
    assert re.match(
        r"Seed 3: sex [FM] \(drawn\), age 65\.0 years, ventricular volume [\d.]+ mL \(drawn\)",
        result.out,
    )
    sidecar = json.loads((tmp_path / "brain_seed-3_T1w.json").read_text())
    assert sidecar["brainldm"]["drawn"] == ["sex", "ventricular_volume_ml", "brain_volume_ml"]


def test_seed_left_out_is_random_and_said(generate: Cli, tmp_path: Path) -> None:
    first, second = (generate(*PERSON, "--steps", "1").out for _ in range(2))
    assert first != second
    seed = re.findall(r"^Seed (\d+):", first)[0]
    assert f"brain_seed-{seed}_T1w.nii.gz" in names(tmp_path)


def test_normalised_values(generate: Cli, tmp_path: Path) -> None:
    values = ("--ventricular-volume-ml", "0.7", "--brain-volume-ml", "0.5")
    result = generate(
        "--normalised", "--sex", "1.0", "--age", "0.7", *values, "--seed", "0", "--steps", "1"
    )
    assert result.code == 0, result.err
    conditions = json.loads((tmp_path / "brain_seed-0_T1w.json").read_text())["brainldm"][
        "conditions"
    ]
    assert conditions["sex"] == {"value": "M", "unit": "", "normalised": 1.0}
    assert conditions["age"]["value"] == pytest.approx(70.6)


STRENGTH = Variable(
    name="field_strength_t", unit="T", low=1.5, high=7, distribution=Uniform(source="-")
)
DIAGNOSIS = Variable(
    name="diagnosis",
    kind="category",
    labels=("control", "AD"),
    distribution=Bernoulli(probability=0.5, source="-"),
)


SCANNER = Variable(
    name="scanner",
    kind="category",
    labels=("1", "2", "3"),
    distribution=Categorical(probabilities=(0.5, 0.2, 0.3), source="-"),
)


def test_labels_may_be_many_and_read_as_numbers(cli: Cli, tmp_path: Path) -> None:
    own = str(write_toy_model(tmp_path / "own", (PUBLISHED.conditions[1], SCANNER)))
    arguments = ("generate", "--model", own, "--steps", "2", "--seed", "3", "--age", "60")
    result = cli(*arguments, "--condition", "scanner=2")
    assert result.code == 0, result.err
    assert "Seed 3: age 60.0 years, scanner 2" in result.out
    assert "scanner: 1 or 2 or 3" in cli("info", "--model", own).out
    result = cli(*arguments, "--overwrite", "--condition", "scanner=4")
    assert result.code == 2
    assert 'expected "1" or "2" or "3"' in result.err


def test_a_model_with_other_conditions(cli: Cli, tmp_path: Path) -> None:
    conditions = (PUBLISHED.conditions[1], STRENGTH, DIAGNOSIS)
    own = str(write_toy_model(tmp_path / "own", conditions))

    def run(*arguments: str) -> Result:
        return cli("generate", "--model", own, "--steps", "2", "--seed", "3", *arguments)

    result = run("--age", "60", "--condition", "diagnosis=AD", "--condition", "field_strength_t=3")
    assert result.code == 0, result.err
    assert "Seed 3: age 60.0 years, field strength t 3.0 T, diagnosis AD" in result.out
    sidecar = json.loads((tmp_path / "brain_seed-3_T1w.json").read_text())
    assert list(sidecar["brainldm"]["conditions"]) == ["age", "field_strength_t", "diagnosis"]

    result = cli("info", "--model", own)
    assert "field_strength_t: 1.5 to 7 T" in result.out
    assert "diagnosis: control (0) or AD (1)" in result.out

    for arguments, message in (
        (("--sex", "F"), "no condition sex: expected age, field_strength_t, diagnosis"),
        (("--condition", "iq=100"), "no condition iq"),
        (("--condition", "diagnosis=MCI"), 'diagnosis is \'MCI\': expected "control" or "AD"'),
        (("--condition", "field_strength_t=9"), "field_strength_t is 9 T"),
        (("--condition", "field_strength_t"), "expected NAME=VALUE"),
        (("--condition", "age=60"), "give it as --age 60 instead"),
        (("--condition", "a=1", "--condition", "a=2"), "a was given twice"),
    ):
        result = run("--overwrite", *arguments)
        assert result.code == 2
        assert message in result.err


def test_outside_the_range(generate: Cli, tmp_path: Path) -> None:
    asked = ("--sex", "F", "--age", "90", "--seed", "0", "--steps", "1")
    refused(
        generate(*asked),
        "age is 90 years (1.211 normalised)",
        "expected 44 to 82 years (0 to 1 normalised)",
        "--extrapolate",
    )
    assert names(tmp_path) == []
    assert generate(*asked, "--extrapolate").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sex", "X"), 'sex is \'X\': expected "F" or "M"'),
        (("--age", "nan"), "age is nan: expected a finite number"),
        (("--age", "old"), "'old' is not a number, such as 65"),
        (("--seed", "1.5"), "'1.5' is not an integer, such as 7"),
        (("--seed", "-1"), "The seed -1 cannot be used: expected a whole number from 0"),
        (("--number", "0"), "--number is 0: expected a number of heads, 1 or more"),
        (("--steps", "0"), "steps is 0: expected a whole number from 1 to 1000"),
        (("--steps", "-5"), "steps is -5: expected a whole number from 1 to 1000"),
        (("--steps", "1001"), "steps is 1001: expected a whole number from 1 to 1000"),
        (("--sampler", "euler"), "Unknown sampler 'euler': expected one of"),
        (
            ("--sampler", "ddpm", "--eta", "0.5"),
            "eta is 0.5, and the sampler ddpm has none",
        ),
        (("--sampler", "ddim", "--eta", "-1"), "eta is -1.0: expected a number from 0"),
        (("--device", "tpu"), "Unknown device 'tpu': expected auto, cpu, cuda"),
        (("--dtype", "float8"), "Unknown dtype 'float8': expected one of"),
        (("--model", "nowhere"), "There is no directory nowhere. Expected 'demo'"),
        (("--gender", "F"), "No such option"),
    ],
)
def test_mistakes(generate: Cli, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    refused(generate("--steps", "1", *arguments), message)
    assert names(tmp_path) == []


def test_existing_files_are_refused_before_computing(generate: Cli, tmp_path: Path) -> None:
    asked = (*PERSON, "--seed", "7", "--steps", "1")
    assert generate(*asked).code == 0
    before = (tmp_path / "brain_seed-7_T1w.nii.gz").stat().st_mtime_ns
    refused(generate(*asked, "--model", "nowhere"), "Would overwrite", "--overwrite")
    refused(generate(*PERSON, "--seed", "6", "--number", "2"), "brain_seed-7_T1w.nii.gz")
    assert (tmp_path / "brain_seed-7_T1w.nii.gz").stat().st_mtime_ns == before
    assert generate(*asked, "--overwrite").code == 0
    assert (tmp_path / "brain_seed-7_T1w.nii.gz").stat().st_mtime_ns > before


def test_folder_that_cannot_be_made(generate: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(generate(*PERSON, "--out", "file/heads"), "Cannot make the folder file/heads", "choose")


def test_full_disk(toy: str, tmp_path: Path) -> None:
    """In a process that the system lets write no more than a few kilobytes a file."""
    code = (
        "import resource; from brainldm.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); main()"
    )
    command = ("generate", "--model", toy, "--device", "cpu", "--steps", "1", "--seed", "0")
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Cannot write brain_seed-0_T1w.json, brain_seed-0_T1w.nii.gz" in done.stderr
    assert names(tmp_path) == []


def test_ctrl_c_leaves_no_half_file(toy: str, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("brainldm")
    command = ("generate", "--model", toy, "--device", "cpu", "--steps", "20", "--number", "10000")
    with subprocess.Popen(
        [program, *command, "--seed", "0"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # A shell that runs these tests in the background has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "brain_seed-0_T1w.nii.gz").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert [name for name in names(tmp_path) if "partial" in name] == []
    for path in tmp_path.glob("*.nii.gz"):
        assert nib.load(path).get_fdata().shape == SHAPE
        assert path.with_name(path.name.replace(".nii.gz", ".json")).exists()


def test_reconstruct(cli: Cli, toy: str, tmp_path: Path) -> None:
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = -80, -110, -70
    scan = np.random.default_rng(0).random((40, 55, 45), dtype=np.float32)
    nib.save(nib.Nifti1Image(1000 * scan, affine), tmp_path / "scan.nii.gz")
    result = cli("reconstruct", "scan.nii.gz", "--model", toy, "--out", "there", "--preview")
    assert result.code == 0, result.err
    psnr, saved = result.out.splitlines()
    assert re.fullmatch(r"PSNR against the scan on the model's grid: -?\d+\.\d\d dB", psnr)
    assert saved == f"Saved scan_reconstruction.nii.gz in {tmp_path / 'there'}"
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
