"""The errors a user can cause, each saying what was expected, what came and what to do."""

from __future__ import annotations


class BrainLDMError(ValueError):
    """A mistake in what brainldm was given; the command line prints it without a traceback."""


class NotFiniteError(BrainLDMError):
    """NaN or infinite values came out of a network."""


class MissingExtraError(BrainLDMError):
    """Something needs an optional dependency that is not installed.

    Args:
        what: what was asked for, as the start of a sentence ("Training the autoencoder").
        package: the package that could not be imported.
        extra: the extra of brainldm that brings it.
    """

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package!r}, which is not installed. "
            f'Install it with: pip install "brainldm[{extra}]"'
        )
