"""The errors a user can cause, each saying what was expected, what was got and what to do.

There are four kinds, so that a program can tell a typing mistake from a full disk: `UsageError`,
`DataError`, `StorageError` and `ModelError`, all of them `BrainLDMError`.
"""

from __future__ import annotations

import importlib.util

EXTRAS = {
    "bundle": ("monai", "ignite"),
    "train": ("accelerate", "monai", "nilearn", "yaml", "tensorboard"),
    "lora": ("peft",),
    "perceptual": ("torchvision",),
    "prepare": ("ants", "nilearn"),
    "evaluate": ("ants", "nilearn", "huggingface_hub", "matplotlib", "monai"),
    "cohort": ("ray",),
    "serve": ("fastapi", "uvicorn"),
}
"""Extras of brainldm, and the modules that each brings."""


class BrainLDMError(ValueError):
    """A mistake in what brainldm was given; the command line prints it without a traceback."""


class UsageError(BrainLDMError):
    """What was asked for cannot be: an option, an argument, or two that contradict each other."""


class DataError(BrainLDMError):
    """A file, a table, an image or an array is not what was expected."""


class StorageError(BrainLDMError):
    """A file or a folder cannot be read or written: none there, no permission, no space."""


class ModelError(BrainLDMError):
    """A model cannot be loaded, or cannot do what was asked of it."""


class NotFiniteError(ModelError):
    """NaN or infinite values came out of a network."""


class MissingExtraError(UsageError):
    """Something needs an optional dependency that is not installed; see `require`."""


def require(extra: str, what: str, *modules: str) -> None:
    """Make sure that modules of an extra are installed, without importing them.

    Args:
        extra: a key of `EXTRAS`.
        what: what needs them, as the start of a sentence ("Training the autoencoder").
        modules: those needed; all of the extra if none is named.

    Raises:
        MissingExtraError: one is not installed; it says how to install the extra.
    """
    for module in modules or EXTRAS[extra]:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(
                f"{what} needs the package {module!r}, which is not installed. "
                f'Install it with: pip install "brainldm[{extra}]"'
            )
