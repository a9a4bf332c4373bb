"""How much a command says: of what it does, and how far it is."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator

from brainldm._version import __version__

quiet = False
"""Neither summaries nor bars; warnings and errors are always said."""


@contextlib.contextmanager
def speaking(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Say as much as was asked for, as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        if verbose:
            print(_versions(), file=sys.stderr)
        if quiet:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(_no_bars())
        yield


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    global quiet
    quiet = True
    try:
        yield
    finally:
        quiet = False


def _versions() -> str:
    from importlib.metadata import version

    from brainldm.threads import usable_cores

    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "nibabel"))
    return (
        f"brainldm {__version__}, Python {platform.python_version()}, {packages}, "
        f"{platform.platform()}, {usable_cores()} cores"
    )
