"""Intensities: what a tissue is made of, and how bright that is in an image of some contrast.

The signal of a material follows from its relaxation times, its proton density and the sequence.
Times (ms) and densities are those of BrainWeb at 1.5 T (Kwan, Evans and Pike 1999, IEEE
Transactions on Medical Imaging 18:1085; brainweb.bic.mni.mcgill.ca) for fluid, grey and white
matter, lesions, fat and muscle. Deep grey matter lies between white matter and cortex as its T1
does in Gelman et al. 2001 (Magnetic Resonance in Medicine 45:71). The rest are assumptions, and
say so.

Label maps may come with priors of their T1-weighted intensities (`Priors`), which then take the
place of what is computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainldm.simulate.priors import Priors
from brainldm.simulate.tissues import TISSUES

Contrast = Literal["t1w", "t2w", "flair", "random"]
CONTRASTS: tuple[Contrast, ...] = ("t1w", "t2w", "flair", "random")


@dataclass(frozen=True)
class Material:
    """What tissue is made of.

    Args:
        t1: longitudinal relaxation time in ms.
        t2: transverse relaxation time in ms.
        density: of protons, relative to fluid.
        texture: the deviation of its intensity from voxel to voxel, relative to its mean.
        patches: that over centimetres.
    """

    t1: float
    t2: float
    density: float
    texture: float = 0.012
    patches: float = 0.015


WHITE = Material(500, 70, 0.77)
GREY = Material(833, 83, 0.86, texture=0.02)
FLUID = Material(2569, 329, 1.0, texture=0.02, patches=0)


def _between(share: float) -> Material:
    """A share of the way from white matter to cortex."""
    t1, t2, density = (
        (1 - share) * white + share * grey
        for white, grey in (
            (WHITE.t1, GREY.t1),
            (WHITE.t2, GREY.t2),
            (WHITE.density, GREY.density),
        )
    )
    return Material(t1, t2, density, texture=0.015)


MATERIALS: Mapping[str, Material] = {
    "air": Material(1, 1, 0.0, 0, 0),
    "fluid": FLUID,
    "white": WHITE,
    "grey": GREY,
    # T1 of 1043, 1218, 1337 and 1483 ms, where white matter has 847 and cortex 1763 (Gelman).
    "pallidum": _between(0.21),
    "thalamus": _between(0.41),
    "putamen": _between(0.53),
    "caudate": _between(0.69),
    # Assumptions: mixed of both, as far as fibres cross them.
    "ventral_diencephalon": _between(0.3),
    "brain_stem": _between(0.3),
    "cerebellar_white": _between(0.1),
    "cerebellar_grey": _between(0.95),
    "spinal_cord": _between(0.3),
    "nerve": _between(0.2),
    "lesion": Material(752, 237, 0.76),
    # Assumption: half fluid, half grey matter.
    "plexus": Material(1200, 150, 0.93, 0.06),
    "fat": Material(350, 70, 0.75, 0.08, 0.08),  # density 1 there: scalp outshines scans by far
    "muscle": Material(900, 47, 1.0, 0.08, 0.06),
    "skin": Material(900, 47, 0.9, 0.08, 0.06),
    "eye_muscle": Material(900, 47, 1.0, 0.08),
    # Assumptions from here on: swollen with water; fluid; flowing blood, seen in part; red and
    # yellow marrow, with the bone around it; bone has next to no signal.
    "mucosa": Material(1000, 110, 0.8, 0.2, 0.1),
    "vitreous": Material(2569, 329, 1.0, 0.02, 0),
    "vessel": Material(1000, 60, 0.6, 0.15, 0.2),
    "small_vessel": Material(900, 60, 0.7, 0.1),
    "sinus": Material(1200, 60, 0.4, 0.15, 0.15),
    "marrow": Material(500, 60, 0.55, 0.15, 0.12),
    "diploe": Material(500, 60, 0.3, 0.2, 0.25),
    "bone": Material(700, 30, 0.07, 0.3, 0),
}


@dataclass(frozen=True)
class Sequence:
    """How an image is taken: inversion recovery read with a spin or gradient echo.

    Args:
        tr: repetition time in ms.
        te: echo time in ms; 0 where it is so short that T2 does not show.
        ti: inversion time in ms, or None without inversion.
        white: the intensity that white matter gets, which fixes the scale.
    """

    tr: float
    te: float
    ti: float | None
    white: float

    def signal(self, material: Material) -> float:
        """The magnitude of a material's signal, white matter's being 1 by `white`."""
        return self._raw(material) / self._raw(WHITE) * self.white

    def _raw(self, material: Material) -> float:
        recovered = 1 - math.exp(-self.tr / material.t1)
        if self.ti is not None:
            recovered = 1 - 2 * math.exp(-self.ti / material.t1) + math.exp(-self.tr / material.t1)
        return material.density * abs(recovered) * math.exp(-self.te / material.t2)


SEQUENCES: Mapping[str, Sequence] = {
    # As UK Biobank's and most others': MPRAGE, T2 fast spin echo, FLAIR that nulls the fluid.
    "t1w": Sequence(tr=2000, te=0, ti=1000, white=0.75),
    "t2w": Sequence(tr=5000, te=90, ti=None, white=0.28),
    "flair": Sequence(tr=9000, te=90, ti=1700, white=0.5),
}
SPREAD = 0.03
"""The deviation of a material's mean between subjects, in units of white matter's intensity."""
FADING = 0.04
"""The share of the contrast between grey and white matter that is lost in a decade of age."""
MIDDLE_AGE = 63.0
WHITE_MATTER = 2
LUMPED = (0, 507, 515)
"""Numbers whose priors mix what is told apart here, and air, which is 0."""
SHARE_OF_PRIOR = 0.35
FADES = ("grey", "cerebellar_grey", "caudate", "putamen", "thalamus")
Row = tuple[float, float, float]
"""A mean, and deviations from voxel to voxel and over centimetres."""


@dataclass(frozen=True)
class Palette:
    """One subject's intensities, by places in `TISSUES`, each (len(TISSUES),).

    Args:
        means: in [0, 1].
        textures: deviations from voxel to voxel.
        patches: deviations over centimetres.
    """

    means: NDArray[np.float32]
    textures: NDArray[np.float32]
    patches: NDArray[np.float32]


def draw_palette(
    contrast: Contrast, age: float, priors: Priors | None, rng: np.random.Generator
) -> Palette:
    """Draw what the tissues of one subject look like.

    Args:
        contrast: of the image.
        age: in years.
        priors: of the label maps, for t1w.
        rng: where the randomness comes from.
    """
    if contrast == "random":
        drawn = {name: _anything(rng) for name in MATERIALS}
    else:
        sequence = SEQUENCES[contrast]
        drawn = {name: _like(material, sequence, rng) for name, material in MATERIALS.items()}
        if contrast == "t1w" and priors is not None:
            drawn |= _from_priors(priors, sequence.white, rng)
        drawn = _aged(drawn, age)
    rows = np.array([drawn[tissue.material] for tissue in TISSUES], dtype=np.float32)
    return Palette(*rows.T)


def _like(material: Material, sequence: Sequence, rng: np.random.Generator) -> Row:
    mean = sequence.signal(material) * math.exp(rng.normal(0, SPREAD)) + rng.normal(0, 0.01)
    mean = max(mean, 0.0) if material.density else 0.0
    return mean, mean * material.texture, mean * material.patches


def _anything(rng: np.random.Generator) -> Row:
    """Any mean and deviation (domain randomisation, Billot et al. 2023)."""
    mean, texture, patches = rng.uniform((0, 0, 0), (1, 0.12, 0.06)).tolist()
    return mean, texture, patches


def _aged(drawn: dict[str, Row], age: float) -> dict[str, Row]:
    """Grey matter comes nearer to white with every decade."""
    kept = 1 - FADING * (age - MIDDLE_AGE) / 10
    white = drawn["white"][0]
    return drawn | {
        name: (white + kept * (mean - white), texture, patches)
        for name, (mean, texture, patches) in drawn.items()
        if name in FADES
    }


def _from_priors(priors: Priors, white: float, rng: np.random.Generator) -> dict[str, Row]:
    """The materials that priors know, scaled so that white matter's usual mean is `white`."""
    scale = white / priors.rows[WHITE_MATTER][0]
    drawn = {}
    for tissue in TISSUES:
        known = priors.rows.get(tissue.number)
        if known is None or tissue.number in LUMPED or tissue.material in drawn:
            continue
        mean, deviation = known
        # Most of how scanners differ is their scale, which is fixed here.
        mean = scale * (mean + SHARE_OF_PRIOR * deviation * float(rng.normal()))
        own = MATERIALS[tissue.material]
        drawn[tissue.material] = (max(mean, 0.0), mean * own.texture, mean * own.patches)
    return drawn
