"""Files that appear whole or not at all, and files read with a word about what is wrong."""

from brainldm.files.reading import checksum, read_json, read_text, sha256, walk
from brainldm.files.writing import (
    is_partial,
    make_folder,
    refuse_existing,
    remove_partial,
    to_json,
    write_aside,
    write_folder,
    write_together,
)

__all__ = [
    "checksum",
    "is_partial",
    "make_folder",
    "read_json",
    "read_text",
    "refuse_existing",
    "remove_partial",
    "sha256",
    "to_json",
    "walk",
    "write_aside",
    "write_folder",
    "write_together",
]
