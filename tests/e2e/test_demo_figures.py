"""The figures of the demo model, on a few heads and few steps."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from brainldm import BrainLDM, Volume
from brainldm.demo import figures as demo
from brainldm.image.grid import Grid
from brainldm.register.kept import load_template
from brainldm.segment.network import Network
from brainldm.simulate.heads import Heads
from tests.template_head import SimulatedHead, simulate


class TemplateHeads(Heads):
    """Of the kind that the model which ships has learned; those of label maps are not at hand."""

    def head(self, seed: int, grid: Grid) -> SimulatedHead:  # type: ignore[override]
        return simulate(seed, load_template(), grid)


@pytest.mark.slow
def test_figures_of_a_few_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "HELD_OUT", range(100_000, 100_004))
    monkeypatch.setattr(demo, "GENERATED", range(4))
    monkeypatch.setattr(demo, "SWEPT", range(1000, 1002))
    model = BrainLDM.from_pretrained("demo", device="cpu")
    monkeypatch.setattr(model, "generate", functools.partial(model.generate, steps=10))
    heads = TemplateHeads((), None)
    image = simulate(1, load_template(), model.grid).image
    scan = Volume(image.numpy(), model.affine, scaled=True)
    figures = demo.evaluate(model, heads, Network.of(), tmp_path / "figures", scan)
    written = json.loads((tmp_path / "figures" / "figures.json").read_text())
    assert [f["value"] for f in written["figures"]] == [f.value for f in figures]
    assert written["model"] == model.hash
    assert len((tmp_path / "figures" / "heads.csv").read_text().splitlines()) == 5
    assert (tmp_path / "figures" / "contact-sheet.png").read_bytes().startswith(b"\x89PNG")
