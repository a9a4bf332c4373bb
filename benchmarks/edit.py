"""Edited heads against true counterfactuals: the same simulated head with other volumes.

    python benchmarks/edit.py --heads 6 --others 30    # a quarter of an hour on two cores

Each head is edited to the volumes of its twin, which differs from it in nothing else, and compared
with the twin: PSNR in dB where the two differ by more than CHANGED and where they do not, and the
volumes that are measured, for

- nothing: the head as it was;
- decode: what the model decodes under the twin's conditions;
- original + difference: what the model decodes under both conditions, the difference added;
- deformation: the head, deformed as the model deformed it;
- deformation + residual: the same with the smooth difference of intensities that is left
  (what `brainldm edit` does).

Slope and r are those of the measured change of volumes on the true one. Identity is the share of
edited heads that are nearer, by correlation, to their own original than to any other head.

Heads are those of the template that the demo model was trained on, with seeds it has not seen, or
those of a data set that `brainldm simulate --twins` made (--data), measured by a segmenter.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from brainldm import BrainLDM, Conditions, Volume
from brainldm.dataset.participants import read_people
from brainldm.dataset.prepared import read_prepared
from brainldm.edit.difference import Difference
from brainldm.edit.inverted import STEPS, Inverted
from brainldm.edit.known import Known
from brainldm.edit.original import Original
from brainldm.register.kept import load_template
from brainldm.segment.network import Network
from brainldm.segment.rule import Simulated
from brainldm.simulate.template_head import simulate

FIRST_HEAD = 100_000
"""Which training has not seen."""
CHANGED = 0.08
NAMES = ("ventricular_volume_ml", "brain_volume_ml")
Measure = Callable[[np.ndarray], tuple[float, float]]


@dataclass(frozen=True)
class Pair:
    """A head and its twin, on the model's grid, with what is true of both."""

    head: np.ndarray
    twin: np.ndarray
    before: Conditions
    after: Conditions


def template_pairs(model: BrainLDM, heads: int) -> Iterator[Pair]:
    template = load_template()
    for seed in range(FIRST_HEAD, FIRST_HEAD + heads):
        first, second = (simulate(seed, template, model.grid, twin) for twin in (False, True))
        yield Pair(first.image.numpy(), second.image.numpy(), first.conditions, second.conditions)


def data_pairs(folder: Path, heads: int) -> Iterator[Pair]:
    data, people = read_prepared(folder), read_people(folder / "participants.tsv")
    place = {subject: i for i, subject in enumerate(data.subjects)}
    both = [s for s in data.subjects if f"{s}twin" in place][:heads]
    for subject in both:
        names = subject, f"{subject}twin"
        images = [data.image(place[name])[0].numpy() for name in names]
        found = [people.find([name]) for name in names]
        yield Pair(*images, *(Conditions.of(dict(p.known)) for p in found if p))


def variants(
    model: BrainLDM, pair: Pair, steps: int, keep: Path | None = None
) -> tuple[dict[str, np.ndarray], Inverted]:
    """The head as each way has it; what the model decodes is kept in a file."""
    head = Volume(pair.head, model.affine, scaled=True)
    inverted = Inverted.of(
        model, Original.of(head), Known(pair.before), steps=steps, extrapolate=True
    )
    back, latent = inverted.walk([pair.before, pair.after], extrapolate=True)
    before, after = (inverted.picture(each[None]) for each in (back, latent))
    difference = Difference.between(before, after, model.grid)
    bare = replace(difference, residual=np.zeros_like(difference.residual))
    if keep:
        np.savez(keep, before=before, after=after, head=pair.head, twin=pair.twin)
    return {
        "nothing": pair.head,
        "decode": after,
        "original + difference": np.clip(pair.head + after - before, 0, 1),
        "deformation": bare.within(inverted.original).array,
        "deformation + residual": difference.within(inverted.original).array,
    }, inverted


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a[where] - b[where]) ** 2)))


def changed(pair: Pair) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.abs(pair.head - pair.twin), 0.7)
    return ndimage.binary_dilation(smooth > CHANGED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--others", type=int, default=30)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--segmenter", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/edit"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    model = BrainLDM.from_pretrained(asked.model)
    measure = measurer(model, asked)
    pairs = (
        data_pairs(asked.data, asked.heads) if asked.data else template_pairs(model, asked.heads)
    )
    rows: dict[str, list[list[float]]] = {}
    results, originals, rms, seconds = [], [], [], []
    for place, pair in enumerate(pairs):
        begun = time.monotonic()
        made, inverted = variants(model, pair, asked.steps, asked.out / f"{place}.npz")
        seconds.append(time.monotonic() - begun)
        rms.append(inverted.noise_rms)
        region, true = changed(pair), (measure(pair.head), measure(pair.twin))
        for name, image in made.items():
            found = measure(image)
            change = [found[i] - true[0][i] for i in (0, 1)]
            wanted = [true[1][i] - true[0][i] for i in (0, 1)]
            row = [psnr(image, pair.twin, region), psnr(image, pair.twin, ~region)]
            rows.setdefault(name, []).append([*row, *change, *wanted])
        results.append(made["deformation + residual"])
        originals.append(pair.head)
        (asked.out / "rows.json").write_text(json.dumps(rows))
    report(rows, rms, seconds)
    if not asked.data:
        template = load_template()
        more = range(FIRST_HEAD + asked.heads, FIRST_HEAD + asked.heads + asked.others)
        originals += [simulate(seed, template, model.grid).image.numpy() for seed in more]
        close = np.corrcoef([each.ravel() for each in (*results, *originals)])
        own = close[: len(results), len(results) :].argmax(axis=1) == np.arange(len(results))
        print(f"identity: {own.sum()} of {len(own)} among {len(originals)} heads")


def measurer(model: BrainLDM, asked: argparse.Namespace) -> Measure:
    """What measures ventricles and brain of an image on the model's grid."""
    by = (
        Network.of(asked.segmenter)
        if asked.data
        else Simulated.learned(model.grid, asked.out / "rule.npz", lambda done, total: None)
    )
    return lambda image: by.measure(Volume(image, model.affine)).volumes


def report(rows: dict[str, list[list[float]]], rms: list[float], seconds: list[float]) -> None:
    """Print the table."""
    print(f"{len(rms)} heads, noise {np.mean(rms):.2f}, {np.mean(seconds):.0f} s each")
    print("| way | changed, dB | elsewhere, dB | ventricles: r | slope | brain: r | slope |")
    print("|---|---|---|---|---|---|---|")
    for name, values in rows.items():
        table = np.array(values)
        cells = [f"{table[:, i].mean():.2f}" for i in (0, 1)]
        for got, wanted in ((table[:, 2], table[:, 4]), (table[:, 3], table[:, 5])):
            slope = float(got @ wanted / (wanted @ wanted))
            r = np.corrcoef(got, wanted)[0, 1] if got.std() and len(got) > 2 else float("nan")
            cells += [f"{r:.3f}", f"{slope:.2f}"]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
