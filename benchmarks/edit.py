"""Edited heads against true counterfactuals: the same simulated head with other volumes.

    brainldm simulate --label-maps DIR --only NAME,NAME --seed 100000 --twins --out DATA
    python benchmarks/edit.py --data DATA --heads 6    # a quarter of an hour on two cores

Each head is edited to the volumes of its twin, which differs from it in nothing else, and compared
with the twin: PSNR in dB where the two differ by more than CHANGED and where they do not, and the
volumes that are measured, for

- nothing: the head as it was;
- decode: what the model decodes under the twin's conditions;
- original + difference: what the model decodes under both conditions, the difference added;
- deformation: the head, deformed within its skull as the model deformed it;
- deformation + residual: the same with the smooth difference of intensities that is left
  (what `brainldm edit` does).

Slope and r are those of the measured change of volumes on the true one. Identity is the share of
edited heads that are nearer, by correlation, to their own original than to any other head.

Heads are those of a data set that `brainldm simulate --twins` made of anatomies that the model has
not learned from; a segmenter measures them, also where it does not trust its volumes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from brainldm import BrainLDM, Conditions, Volume
from brainldm.dataset.participants import read_people
from brainldm.dataset.prepared import PreparedData, read_prepared
from brainldm.edit.counterfactual import change, walk
from brainldm.edit.inverted import STEPS, Inverted
from brainldm.edit.known import Known
from brainldm.edit.original import Original
from brainldm.segment.network import Network

CHANGED = 0.08


@dataclass(frozen=True)
class Pair:
    """A head and its twin, on the model's grid, with what is true of both."""

    head: np.ndarray
    twin: np.ndarray
    before: Conditions
    after: Conditions


def pairs_of(data: PreparedData, heads: int) -> Iterator[Pair]:
    people = read_people(data.folder / "participants.tsv")
    place = {subject: i for i, subject in enumerate(data.subjects)}
    for subject in subjects_of(data)[:heads]:
        names = subject, f"{subject}twin"
        images = [data.image(place[name])[0].numpy() for name in names]
        found = [people.find([name]) for name in names]
        yield Pair(*images, *(Conditions.of(dict(p.known)) for p in found if p))


def subjects_of(data: PreparedData) -> list[str]:
    """Those that have a twin."""
    return [subject for subject in data.subjects if f"{subject}twin" in data.subjects]


def variants(
    model: BrainLDM, pair: Pair, steps: int, keep: Path | None = None
) -> tuple[dict[str, np.ndarray], Inverted]:
    """The head as each way has it; what the model decodes is kept in a file."""
    head = Volume(pair.head, model.affine, scaled=True)
    inverted = Inverted.of(
        model, Original.of(head), Known(pair.before), steps=steps, extrapolate=True
    )
    back, latent = walk(inverted, [pair.after], extrapolate=True)
    before, after = (inverted.picture(each[None]) for each in (back, latent))
    difference, _ = change(inverted, (before, after), pair.after)
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
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--segmenter", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/edit"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    model = BrainLDM.from_pretrained(asked.model)
    network, data = Network.of(asked.segmenter), read_prepared(asked.data)

    def measure(image: np.ndarray) -> tuple[float, float]:
        return network.label(Volume(image, model.affine)).estimates.volumes

    rows: dict[str, list[list[float]]] = {}
    results, rms, seconds = [], [], []
    for place, pair in enumerate(pairs_of(data, asked.heads)):
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
        (asked.out / "rows.json").write_text(json.dumps(rows))
    report(rows, rms, seconds)
    originals = [data.image(data.subjects.index(each))[0].numpy() for each in subjects_of(data)]
    close = np.corrcoef([each.ravel() for each in (*results, *originals)])
    own = close[: len(results), len(results) :].argmax(axis=1) == np.arange(len(results))
    print(f"identity: {own.sum()} of {len(own)} among {len(originals)} heads")


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
