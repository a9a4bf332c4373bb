"""Ways to damage a file, inside archives and packed streams too."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from pathlib import Path
from random import Random
from typing import Any

TEXTS = (".json", ".jsonl", ".tsv", ".csv", ".yaml", ".txt")
NASTY = (
    *("NaN", "-Infinity", "1e999", "1e300", "-1", "0", "-0.0", "1e-320", "9" * 400, "9" * 5000),
    *("[" * 50_000, '{"a":' * 50_000, "- " * 5000, "x" * 200_000, "null", "true", "[]", "{}"),
    *('"', '"x"', "'", "\t", "\r", "\n", "\x00", "\ufeff", "\u202e", "\\ud800", "n/a", " ", "é"),
    *(r"$\foo$", "../../x", "/", "!!python/object:os.system x", "&a [*a, *a]", "a: b: c", "%", "="),
)
VALUES: tuple[Any, ...] = (
    *(None, True, [], {}, "", "x", [[]], {"a": {}}, 0, -1, 2**31, 2**63, 10**30, 10**400, 1e308),
    *(-1e308, 1e-320, 0.5, [1] * 1000, "x" * 100_000, "\x00", "\u202e", ["x", None, 3]),
)
NUMBERS = tuple(
    struct.pack(f"<{kind}", value)
    for kind, values in (
        ("f", (float("nan"), float("inf"), -1.0, 0.0, 3e38, 1e-45)),
        ("d", (float("nan"), float("-inf"), 1e308)),
        ("h", (-1, 0, 32767, -32768, 2304, 128)),
        ("i", (-1, 0, 2**31 - 1, -(2**31))),
        ("q", (-1, 2**62)),
    )
    for value in values
)


def damage(rng: Random, folder: Path) -> None:
    """Damage one of the files in a folder."""
    file = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    file.write_bytes(damaged(rng, file.read_bytes(), file.name))


def damaged(rng: Random, content: bytes, name: str) -> bytes:
    """A file's content, with something wrong in it."""
    inside = rng.random() < 0.6
    if name.endswith(TEXTS):
        return _text(rng, content, name)
    try:
        if inside and name.endswith((".pt", ".zip")):
            return _archive(rng, content)
        if inside and name.endswith((".gz", ".mgz")):
            return gzip.compress(_bytes(rng, gzip.decompress(content)), 1, mtime=0)
        if inside and name.endswith(".safetensors"):
            return _safetensors(rng, content)
    except (
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        struct.error,
        zlib.error,
        zipfile.BadZipFile,
    ):
        pass  # it was damaged before
    return _bytes(rng, content)


def _bytes(rng: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    size = len(changed)
    at = rng.randrange(size + 1) if rng.random() < 0.4 else rng.randrange(min(size, 400) + 1)
    length = rng.choice((1, 2, 8, 100, size // 2))
    kind = rng.randrange(7)
    if kind <= 1:
        number = rng.choice(NUMBERS)
        at -= at % rng.choice((1, 2, 4))
        changed[at : at + len(number)] = number
    elif kind == 2 and at < size:
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == 3:
        del changed[at : at + length]
    elif kind == 4:
        changed[at:at] = rng.randbytes(length) if length < 10**6 else bytes(length)
    elif kind == 5:
        changed[at : at + length] = changed[at : at + length] * 2
    else:
        changed[at : at + length] = bytes([rng.choice((0, 255))]) * length
    return bytes(changed)


def _text(rng: Random, content: bytes, name: str) -> bytes:
    if rng.random() < 0.15:
        return _bytes(rng, content)
    if name.endswith(".json") and rng.random() < 0.6:
        try:
            whole = json.loads(content)
            if isinstance(whole, dict | list) and whole:
                _replace(rng, whole)
                return json.dumps(whole).encode()
        except (ValueError, RecursionError):
            pass  # it was damaged before
    words = list(re.finditer(rb'"[^"\n]*"|[^\s,:\[\]{}"]+|[\t,]', content[:100_000]))
    if not words:
        return rng.choice(NASTY).encode()
    first = rng.choice(words)
    other = rng.choice((*(nasty.encode() for nasty in NASTY), rng.choice(words)[0], b"", b"\xff"))
    return content[: first.start()] + other + content[first.end() :]


def _replace(rng: Random, whole: Any) -> None:
    """Put another value in place of one at any depth, or take it out."""
    keys = list(whole) if isinstance(whole, dict) else list(range(len(whole)))
    key = rng.choice(keys)
    if isinstance(whole[key], dict | list) and whole[key] and rng.random() < 0.75:
        _replace(rng, whole[key])
    elif rng.random() < 0.15:
        del whole[key]
    else:
        whole[key] = rng.choice(VALUES)


def _archive(rng: Random, content: bytes) -> bytes:
    """One member of an archive damaged, the sums right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    whole = [each for each in members if members[each]]
    if not whole:
        return _bytes(rng, content)
    name = rng.choice(whole)
    if name.endswith(".gz"):
        members[name] = damaged(rng, members[name], name)
    else:
        members[name] = _bytes(rng, members[name])
    file = io.BytesIO()
    packed = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(file, "w", packed) as archive:
        for each, held in members.items():
            if rng.random() < 0.98:
                archive.writestr(each, held)
    return file.getvalue()


def _safetensors(rng: Random, content: bytes) -> bytes:
    """The header damaged, its length right."""
    (length,) = struct.unpack("<Q", content[:8])
    header = _text(rng, content[8 : 8 + length], "header.json")
    return struct.pack("<Q", len(header)) + header + content[8 + length :]
