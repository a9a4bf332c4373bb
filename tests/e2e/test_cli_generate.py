"""`brainldm generate`, as a user types it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brainldm.config import Bernoulli, Categorical, Uniform, Variable
from brainldm.pipeline import loading
from tests.commands import Cli, Result, names, refused
from tests.toy import PUBLISHED, SHAPE, toy_config, write_toy_model

PERSON = (
    *("--sex", "F"),
    *("--age", "65"),
    *("--ventricular-volume-ml", "30"),
    *("--brain-volume-ml", "1450"),
)


@pytest.fixture
def generate(cli: Cli, toy: str) -> Cli:
    def generate(*arguments: str) -> Result:
        defaults = {"--model": toy, "--device": "cpu"}
        given = [x for each in defaults.items() if each[0] not in arguments for x in each]
        return cli("generate", *given, *arguments)

    return generate


def test_the_whole_line(generate: Cli, tmp_path: Path) -> None:
    result = generate(
        *PERSON, "--seed", "7", "--number", "2", "--steps", "2", "--sampler", "ddim", "--preview",
        "--out", "heads",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.out.splitlines() == [
        "Seed 7: sex F, age 65.0 years, ventricular volume 30.0 mL, brain volume 1450.0 mL",
        "Seed 8: sex F, age 65.0 years, ventricular volume 30.0 mL, brain volume 1450.0 mL",
        "Saved 2 heads, brain_seed-7_T1w to brain_seed-8_T1w (each .nii.gz, .json and .png), in "
        f"{tmp_path / 'heads'}; look at brain_seed-7_T1w.png",
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
        (("--threads", "0"), "threads is 0: expected 1 or more"),
        (("--device", "tpu"), "Unknown device 'tpu': expected auto, cpu, cuda"),
        (("--dtype", "float8"), "Unknown dtype 'float8': expected one of"),
        (("--model", "nowhere"), "There is no directory nowhere. Expected 'demo'"),
        (("--gender", "F"), "No such option"),
    ],
)
def test_mistakes(
    generate: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """Refused before weights are read or a bar is drawn."""
    monkeypatch.setattr(loading, "load_model", None)
    result = generate(*(() if "--steps" in arguments else ("--steps", "1")), *arguments)
    refused(result, message)
    assert "denoise" not in result.err
    assert names(tmp_path) == []


def test_many_heads_read_the_weights_once(
    generate: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, load = [], loading.load_model
    monkeypatch.setattr(
        loading, "load_model", lambda *where, **how: reads.append(where) or load(*where, **how)
    )
    result = generate("--number", "3", "--seed", "1", "--steps", "1", "--memory", "low")
    assert result.code == 0, result.err
    assert len(reads) == 1
    assert len(names(tmp_path)) == 6


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
    assert errors.splitlines()[-1] == "brainldm: interrupted"
    assert [name for name in names(tmp_path) if "partial" in name] == []
    for path in tmp_path.glob("*.nii.gz"):
        assert nib.load(path).get_fdata().shape == SHAPE
        assert path.with_name(path.name.replace(".nii.gz", ".json")).exists()
