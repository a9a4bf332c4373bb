"""The template is drawn once, whoever draws it first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from brainldm.errors import StorageError
from brainldm.register import kept, template
from brainldm.register.kept import load_template
from brainldm.register.reference import Reference
from brainldm.register.template import Template


def small(intensity: float) -> Template:
    """A template of a few voxels."""
    maps = torch.full((4, 5, 6, 7), intensity)
    return Template(torch.tensor([1.0, 2, 3]), maps, maps, maps[:3], 1.0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, and a template that is quickly drawn."""
    monkeypatch.setenv("BRAINLDM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(template, "draw_template", lambda: small(0.25))
    load_template.cache_clear()
    yield tmp_path / "cache"
    load_template.cache_clear()


def test_what_is_drawn_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_template()
    load_template.cache_clear()
    monkeypatch.setattr(template, "draw_template", lambda: pytest.fail("drawn again"))
    found, drawn = load_template(), small(0.25)
    assert found.intracranial_ml == drawn.intracranial_ml
    for name in ("origin", "brain", "ventricle", "head"):
        assert torch.equal(getattr(found, name), getattr(drawn, name))
    grid = Reference.from_template(found).grid
    assert grid.matrix[:3, 3].tolist() == [1, 2, 3]


def test_another_way_of_drawing_is_drawn_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_template()
    load_template.cache_clear()
    monkeypatch.setattr(kept, "version", lambda package: "0.0")
    monkeypatch.setattr(template, "draw_template", lambda: small(0.75))
    assert load_template().brain.max() == 0.75
    assert len(list(cache.iterdir())) == 2


def test_two_that_write_at_once_leave_one_whole(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow() -> Template:
        monkeypatch.setattr(template, "draw_template", lambda: small(0.75))
        load_template.__wrapped__()  # another begins later and is done before
        return small(0.25)

    monkeypatch.setattr(template, "draw_template", slow)
    assert load_template().brain.max() == 0.75
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_costs_time_alone(cache: Path) -> None:
    cache.write_text("a file")
    assert load_template().brain.max() == 0.25


def test_damage_is_told(cache: Path) -> None:
    load_template()
    load_template.cache_clear()
    [folder] = cache.iterdir()
    (folder / "brain.npy").write_bytes(b"damaged")
    with pytest.raises(StorageError, match=r"Cannot read the template in .*Delete this folder"):
        load_template()
