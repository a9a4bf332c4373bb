"""Where a model's files are, and how they are called.

    autoencoder.safetensors   unet.safetensors    config.json    brainldm
    autoencoder.pt            model.pt            (config.json)  MONAI's model zoo
    autoencoder.pth           diffusion_model.pth (config.json)  GenerativeModels' model zoo

Without `config.json` the last two are the published architecture.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from brainldm.checkpoint.download import published_dir
from brainldm.config.slips import did_you_mean
from brainldm.errors import ModelError, StorageError

CONFIG = "config.json"
CARD = "README.md"
DEMO = Path(__file__).parents[1] / "weights" / "demo"


class Layout(NamedTuple):
    """The names of the two files of weights."""

    autoencoder: str
    unet: str

    def __str__(self) -> str:
        return f"{self.autoencoder} and {self.unet}"


OURS = Layout("autoencoder.safetensors", "unet.safetensors")
MODEL_ZOO = Layout("autoencoder.pt", "model.pt")
GENERATIVE_MODELS = Layout("autoencoder.pth", "diffusion_model.pth")
LAYOUTS = (OURS, MODEL_ZOO, GENERATIVE_MODELS)
FILES = frozenset({CONFIG}.union(*LAYOUTS))
"""Every name that a model's file can have."""

_ACCEPTED = (
    f"Expected 'demo', 'published', or a directory with {OURS} and {CONFIG}, with {MODEL_ZOO}, or "
    f"with {GENERATIVE_MODELS}; in it or in its folder models."
)


def locate(source: str | Path) -> tuple[Path, Layout]:
    """The folder that holds a model's files, and which ones.

    Args:
        source: "demo", "published" or a directory, as in `load_model`.

    Raises:
        StorageError: no such directory, or a model that is not there.
        ModelError: no pair of files in it.
    """
    directory = Path(source)
    if source == "demo":
        directory = DEMO
    elif source == "published":
        directory = published_dir()
    for folder in (directory, directory / "models"):
        for layout in LAYOUTS:
            if all(os.path.isfile(folder / file) for file in layout):
                return folder, layout
    if source == "demo":
        raise StorageError(
            f"The demo model is not in {DEMO}, where it ships with the package. Install brainldm "
            "again; in a clone, `make demo-model` trains it."
        )
    if source == "published":
        raise StorageError(
            f"The published weights are not in {directory}: expected {MODEL_ZOO}. Fetch them with "
            "`brainldm download`."
        )
    kind = ModelError if os.path.isdir(directory) else StorageError
    raise kind(f"{_what_is_wrong(directory)} {_ACCEPTED}")


def _what_is_wrong(directory: Path) -> str:
    if not os.path.exists(directory):
        hint = did_you_mean(str(directory), ("demo", "published"))
        return f"There is no directory {directory}.{hint}"
    if not os.path.isdir(directory):
        return f"{directory} is a file, not a directory."
    for folder in (directory, directory / "models"):
        for layout in LAYOUTS:
            present = [file for file in layout if os.path.isfile(folder / file)]
            if present:
                [missing] = set(layout) - set(present)
                return f"{folder} has {present[0]} but not {missing}: a model needs both."
    names = sorted(path.name for path in directory.iterdir())
    got = ", ".join(names[:8] + ["..."] * (len(names) > 8)) or "nothing"
    return f"{directory} holds no model, but {got}."
