"""Settings from a preset, which is a YAML file with a section for each stage, and `--set`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from brainldm.config.slips import did_you_mean
from brainldm.errors import UsageError, require
from brainldm.train.segmenter_settings import SegmenterPreset, SegmenterSettings
from brainldm.train.settings import AutoencoderSettings, DecoderSettings, DiffusionSettings, Preset

WIDEST = 60
"""Characters of a setting to which what it is is aligned."""
SEGMENTER = Path(__file__).with_name("segmenter.yaml")
"""The settings of the segmenter that ships."""
LAST = ("training", "phases", "run")
"""Where settings are shown, these end a section."""

Stage = TypeVar("Stage", AutoencoderSettings, DiffusionSettings, DecoderSettings, SegmenterSettings)

SECTIONS: dict[type[BaseModel], tuple[str, type[BaseModel]]] = {
    AutoencoderSettings: ("autoencoder", Preset),
    DiffusionSettings: ("diffusion", Preset),
    DecoderSettings: ("decoder", Preset),
    SegmenterSettings: ("segmenter", SegmenterPreset),
}
"""Of each stage's settings: their section, and what a file with it holds."""


def preset_names() -> list[str]:
    """The presets that ship with the package."""
    folder = resources.files("brainldm.train") / "presets"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir())


def load_settings(preset: str, stage: type[Stage], changes: Sequence[str] = ()) -> Stage:
    """A stage's settings.

    Args:
        preset: a name of `preset_names`, or a YAML file.
        stage: one of `SECTIONS`.
        changes: such as "training.learning_rate=1e-4"; the value is YAML. They hold in all phases.

    Raises:
        UsageError: no such preset, a change that cannot be read, a key that does not exist, or a
            wrong value, each with its path.
    """
    section, whole = SECTIONS[stage]
    content = _read(preset, whole)
    if content.get(section) is None:
        raise UsageError(
            f"{preset} has no section {section}: expected the settings of that stage, and got "
            f"{', '.join(map(str, content)) or 'nothing'}."
        )
    for change in changes:
        _apply(content[section], change)
    try:
        settings: Stage = getattr(whole.model_validate(content), section)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, e['loc']))}: {e['msg']}.{_near(whole, e['loc'])}"
            for e in error.errors()
        ]
        raise UsageError(
            f"The settings of {preset} are wrong:\n" + "\n".join(lines) + "\nCorrect the preset or "
            "the --set options; --dry-run prints all settings."
        ) from error
    return settings


def to_yaml(settings: BaseModel) -> str:
    """Settings as text, as a preset has them."""
    text: str = _yaml().safe_dump(_ordered(settings), sort_keys=False, width=88)
    return text


def explained(settings: BaseModel) -> str:
    """Settings as text, as a preset has them, and what each is."""
    lines = list(_explained(settings, ""))
    width = max(len(line) for line, _ in lines if len(line) <= WIDEST)
    return "\n".join(f"{line:<{width}}  # {what}" if what else line for line, what in lines)


def _explained(settings: BaseModel, indent: str) -> Iterator[tuple[str, str]]:
    for name, value in _ordered(settings).items():
        what = type(settings).model_fields[name].description or ""
        section = getattr(settings, name)
        if isinstance(section, BaseModel):
            yield f"{indent}{name}:", what
            yield from _explained(section, indent + "  ")
        else:
            text = _yaml().safe_dump({name: value}, default_flow_style=True, width=10**6)
            yield indent + text.strip()[1:-1], what


def _near(model: Any, place: Sequence[Any]) -> str:
    """A key that was probably meant, in place of the last one of a path that is none."""
    names = [name for name in place if isinstance(name, str)]
    if not names:  # a key that is no Unicode text has no place
        return ""
    *sections, last = names
    for name in sections:
        model = _section(model.model_fields[name].annotation) if name in _fields(model) else None
    return "" if last in _fields(model) else did_you_mean(last, _fields(model))


def _fields(model: Any) -> dict[str, Any]:
    return getattr(model, "model_fields", {})


def _section(annotation: Any) -> Any:
    """The model in an annotation such as `Adversarial | None`."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if hasattr(kind, "model_fields")), None)


def _ordered(settings: BaseModel) -> dict[str, Any]:
    content = settings.model_dump(mode="json")
    last = {name: content.pop(name) for name in LAST if name in content}
    return {**content, **last}


def _read(preset: str, whole: type[BaseModel]) -> dict[str, Any]:
    yaml = _yaml()
    shipped = resources.files("brainldm.train") / "presets" / f"{preset}.yaml"
    try:
        if "/" not in preset and shipped.is_file():
            text = shipped.read_text(encoding="utf-8")
        else:
            text = Path(preset).read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(
            f"Cannot read the preset {preset}: {error}. Expected one of "
            f"{', '.join(preset_names())}, or a YAML file like theirs."
            f"{did_you_mean(preset, preset_names())}"
        ) from error
    if not isinstance(content, dict):
        raise UsageError(
            f"{preset} is not a preset: expected the sections {' and '.join(whole.model_fields)}."
        )
    return content


def _apply(section: Any, change: str) -> None:
    """Change one setting, at any depth."""
    key, equals, text = change.partition("=")
    yaml = _yaml()
    path = key.strip().split(".")
    try:
        if not (equals and path[-1]):
            raise ValueError
        _put(section, path, yaml.safe_load(text))
        for phase in section.get("phases") or ():
            _drop(phase, path)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, yaml.YAMLError):
        raise UsageError(
            f"Cannot use --set {change}: expected KEY=VALUE with a key of the settings that "
            "--dry-run prints, for instance training.learning_rate=1e-4."
        ) from None


def _put(section: Any, path: Sequence[str], value: Any) -> None:
    *sections, last = (int(name) if name.isdecimal() else name for name in path)
    for name in sections:
        if isinstance(section, dict) and section.get(name) is None:
            section[name] = {}
        section = section[name]
    section[last] = value


def _drop(phase: Any, path: Sequence[str]) -> None:
    """Let a change have the last word in a phase that has its own."""
    *sections, last = path
    for name in sections:
        phase = phase.get(name) if isinstance(phase, dict) else None
    if isinstance(phase, dict):
        phase.pop(last, None)


def _yaml() -> Any:
    require("train", "Training", "yaml")
    import yaml

    return yaml
