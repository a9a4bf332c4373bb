"""The template and the reference: drawn once on a machine, and kept in the cache folder."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

from brainldm.checkpoint.fetch import cache_dir
from brainldm.errors import StorageError, require
from brainldm.register import template
from brainldm.register.reference import Reference
from brainldm.register.template import Template


@cache
def load_template() -> Template:
    """The template; drawn in a quarter of a minute, and kept (385 MB).

    Raises:
        MissingExtraError: nilearn is not installed.
        StorageError: what is kept is damaged.
    """
    require("prepare", "The MNI152 template", "nilearn")
    state = Path(template.__file__).read_bytes() + version("nilearn").encode()
    folder = cache_dir() / f"template-{hashlib.sha256(state).hexdigest()[:12]}"
    if not folder.is_dir():
        drawn = template.draw_template()
        try:
            drawn.write(folder)
        except StorageError:
            return drawn  # a cache that cannot be written to costs time alone
    return Template.read(folder)


@cache
def load_reference() -> Reference:
    """The reference; errors as `load_template`."""
    return Reference.from_template(load_template())
