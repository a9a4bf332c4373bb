"""Presets and changes of them: what is accepted, and what each mistake is answered with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import get_args

import pytest
import torch
from pydantic import BaseModel

from brainldm.checkpoint import load_config
from brainldm.errors import UsageError
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import DiffusionUNet
from brainldm.train.phases import Phase
from brainldm.train.presets import SEGMENTER, explained, load_settings, preset_names, to_yaml
from brainldm.train.segmenter_settings import SegmenterSettings
from brainldm.train.settings import AutoencoderSettings, DecoderSettings, DiffusionSettings, Preset
from tests.toy import PUBLISHED

Stage = type[AutoencoderSettings] | type[DiffusionSettings] | type[DecoderSettings]
STAGES: tuple[Stage, ...] = (AutoencoderSettings, DiffusionSettings, DecoderSettings)


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("stage", STAGES)
def test_presets_are_valid_and_survive_as_text(preset: str, stage: Stage, tmp_path: Path) -> None:
    stages = {
        name: load_settings(preset, each)
        for name, each in zip(Preset.model_fields, STAGES, strict=True)
    }
    file = tmp_path / "mine.yaml"
    sections = (
        f"{name}:\n" + "".join(f"  {line}\n" for line in to_yaml(settings).splitlines())
        for name, settings in stages.items()
    )
    file.write_text("".join(sections))
    assert load_settings(str(file), stage) == load_settings(preset, stage)


@pytest.mark.parametrize("preset", preset_names())
def test_what_is_printed_of_settings_is_a_preset_too(preset: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    texts = (explained(load_settings(preset, each)) for each in STAGES)
    sections = zip(Preset.model_fields, texts, strict=True)
    file.write_text("".join(f"{name}:\n{indent(text, '  ')}\n" for name, text in sections))
    for stage in STAGES:
        assert load_settings(str(file), stage) == load_settings(preset, stage)


def undescribed(settings: type[BaseModel], path: str = "") -> Iterator[str]:
    """Settings, at any depth, that do not say what they are."""
    for name, field in settings.model_fields.items():
        if not field.description:
            yield path + name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not Phase:
                yield from undescribed(kind, f"{path}{name}.")


def test_every_setting_says_what_it_is() -> None:
    assert list(undescribed(AutoencoderSettings)) == []
    assert list(undescribed(DiffusionSettings)) == []
    assert list(undescribed(SegmenterSettings)) == []
    lines = explained(load_settings("tiny", AutoencoderSettings)).splitlines()
    assert "  steps: 12             # steps of the optimiser" in lines
    assert all(" # " in line for line in lines)


def test_the_demo_model_is_trained_by_presets(root: Path) -> None:
    """Whose networks and conditions are those of the one that ships, and whose weights may ship."""
    recipe, last = (str(root / f"src/brainldm/demo/{name}.yaml") for name in ("recipe", "emphasis"))
    first = load_settings(recipe, AutoencoderSettings)
    stages = [load_settings(each, DiffusionSettings) for each in (recipe, last)]
    demo = load_config("demo")
    assert first.network == demo.autoencoder
    for second in stages:
        assert second.ranges == {v.name: (v.low, v.high) for v in demo.conditions if not v.labels}
        assert second.network.complete(first.network.latent_channels, 4) == demo.unet
    with torch.device("meta"):
        networks = AutoencoderKL(first.network), DiffusionUNet(demo.unet)
    numbers = sum(p.numel() for network in networks for p in network.parameters())
    finished = load_settings(recipe, DecoderSettings)
    assert stages[-1].run.weights == finished.run.weights == "float16"
    assert 2 * numbers < 25e6


def test_a_preset_has_the_networks_of_the_demo_model() -> None:
    demo = load_config("demo")
    first = load_settings("demo-2mm", AutoencoderSettings)
    second = load_settings("demo-2mm", DiffusionSettings)
    assert first.network == demo.autoencoder
    assert second.network.complete(16, 4) == demo.unet
    assert second.schedule == demo.schedule


def test_the_presets_are_three() -> None:
    assert preset_names() == ["demo-2mm", "tiny", "ukb-1mm"]


def test_ukb_1mm_is_the_published_architecture() -> None:
    assert load_settings("ukb-1mm", AutoencoderSettings).network == PUBLISHED.autoencoder
    diffusion = load_settings("ukb-1mm", DiffusionSettings)
    assert diffusion.network.complete(3, 4) == PUBLISHED.unet
    assert diffusion.schedule == PUBLISHED.schedule


def test_changes_reach_every_depth() -> None:
    settings = load_settings(
        "tiny",
        AutoencoderSettings,
        [
            "training.learning_rate=1e-4",
            "crop=[8, 8, 16]",
            "loss.adversarial={weight: 0.01, learning_rate: 1.0e-4}",
            "loss.adversarial.start=7",
            "loss.perceptual.weight=0.5",  # a section that the preset does not have
            "run.micro_batch=null",
        ],
    )
    assert settings.training.learning_rate == 1e-4
    assert settings.training.batch_size == 2  # as the preset has it
    assert settings.crop == (8, 8, 16)
    assert settings.loss.adversarial
    assert (settings.loss.adversarial.start, settings.loss.adversarial.weight) == (7, 0.01)
    assert settings.loss.perceptual
    assert settings.loss.perceptual.weight == 0.5
    assert settings.run.micro_batch is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.stepz=3", "autoencoder.training.stepz: Extra inputs are not permitted"),
        ("nonsense.deep=3", "autoencoder.nonsense: Extra inputs are not permitted"),
        ("training.steps=0", "autoencoder.training.steps: Input should be greater than 0"),
        ("training.steps=many", "autoencoder.training.steps: Input should be a valid integer"),
        ("training.learning_rate=.nan", "autoencoder.training.learning_rate: "),
        ("training.held_out=1", "autoencoder.training.held_out: Input should be less than 1"),
        ("training.precision=int8", "autoencoder.training.precision: Input should be 'auto'"),
        ("crop=[8, 8]", "autoencoder.crop"),
        ("network.channels=[6, 8, 9]", "autoencoder.network: "),
        ("training=3", "autoencoder.training: Input should be a valid dictionary"),
        ("run.weights=int8", "autoencoder.run.weights: Input should be 'float32'"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(change: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        load_settings("tiny", AutoencoderSettings, [change])
    assert message in str(error.value)
    assert "settings of tiny are wrong" in str(error.value)


@pytest.mark.parametrize(
    "change", ["training.steps", "=3", "training.=3", "training.steps.deep=3", "crop=[8", ""]
)
def test_a_malformed_change_is_shown(change: str) -> None:
    with pytest.raises(UsageError, match=r"Cannot use --set .*: expected KEY=VALUE") as error:
        load_settings("tiny", AutoencoderSettings, [change])
    assert f"--set {change}:" in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Cannot read the preset .*mine.yaml: .*Expected one of demo-2mm, tiny, ukb-1mm"),
        ("- a\n- b\n", "mine.yaml is not a preset: expected the sections"),
        ("a: [1\n", "Cannot read the preset .*mine.yaml"),
        ("\xff", "Cannot read the preset .*mine.yaml"),
        ("autoencoder: {}\n", "autoencoder.network: Field required"),
        ("autoencoder:\n", "mine.yaml has no section autoencoder"),
        ("", "mine.yaml is not a preset"),
        ("diffusion: {}\n", "mine.yaml has no section autoencoder: .*got diffusion"),
        ("autoencoder: 3\ndiffusion: {}\n", "autoencoder: Input should be a valid dict"),
    ],
)
def test_a_file_that_is_no_preset(content: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=message):
        load_settings(str(file), AutoencoderSettings)


def test_a_preset_of_one_stage(tmp_path: Path) -> None:
    settings = load_settings("tiny", AutoencoderSettings)
    file = tmp_path / "mine.yaml"
    file.write_text(f"autoencoder:\n{indent(to_yaml(settings), '  ')}\n")
    assert load_settings(str(file), AutoencoderSettings) == settings
    with pytest.raises(UsageError, match=r"has no section diffusion: .*got autoencoder"):
        load_settings(str(file), DiffusionSettings)


def test_a_change_of_a_section_that_is_no_mapping(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("autoencoder: [1, 2]\n")
    with pytest.raises(UsageError, match=r"Cannot use --set training.steps=3"):
        load_settings(str(file), AutoencoderSettings, ["training.steps=3"])


def test_a_name_of_no_preset() -> None:
    with pytest.raises(UsageError, match=r"Cannot read the preset huge: .*tiny"):
        load_settings("huge", AutoencoderSettings)


def test_the_settings_of_the_segmenter_are_a_section_of_their_own(tmp_path: Path) -> None:
    settings = load_settings(str(SEGMENTER), SegmenterSettings, ["crop=[32, 32, 32]"])
    file = tmp_path / "mine.yaml"
    file.write_text(f"segmenter:\n{indent(to_yaml(settings), '  ')}\n")
    assert load_settings(str(file), SegmenterSettings) == settings
    with pytest.raises(UsageError, match=r"no section segmenter: .*autoencoder, diffusion"):
        load_settings("tiny", SegmenterSettings)
    with pytest.raises(UsageError, match=r"scans\.gama.*gamma"):
        load_settings(str(SEGMENTER), SegmenterSettings, ["scans.gama=1"])
