"""Anatomies: found in MNI152 space whatever way they lay, kept in a file, or the template's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from brainldm.errors import DataError
from brainldm.simulate.align import align, template_maps
from brainldm.simulate.anatomy import Anatomy
from brainldm.simulate.labelmap import LabelMap
from brainldm.simulate.tissues import place
from tests.phantoms import phantom


def template_labels(pose: np.ndarray) -> LabelMap:
    """The template's grey and white matter as a label map that lies elsewhere, 2 mm."""
    template = template_maps()
    grey, white = template.maps
    tissues = np.where(grey > white, place(3), place(2)) * (grey + white > 0.5)
    return LabelMap("elsewhere", tissues.astype(np.uint8), pose @ template.affine)


def test_a_head_is_found_however_it_lies() -> None:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", (25, -4, 6), degrees=True).as_matrix() * 0.9
    pose[:3, 3] = (20, -35, 60)
    labels = template_labels(pose)
    found = align(labels)
    turn = found[:3, :3]
    assert np.abs(turn @ turn.T - np.eye(3)).max() < 1e-6  # rigid, though the head is smaller
    angle = Rotation.from_matrix(turn.T @ (pose[:3, :3] / 0.9)).magnitude()
    assert np.rad2deg(angle) < 0.7
    centre = template_maps().centre
    moved = found[:3, :3] @ centre + found[:3, 3]
    assert np.linalg.norm(moved - (pose[:3, :3] @ centre + pose[:3, 3])) < 1


def test_what_is_no_brain_is_not_found() -> None:
    labels = template_labels(np.eye(4))
    rng = np.random.default_rng(0)
    noise = np.where(rng.random(labels.tissues.shape) < 0.5, place(2), place(3)).astype(np.uint8)
    with pytest.raises(DataError, match="cannot be brought to MNI152 space"):
        align(LabelMap("noise", noise, labels.affine))


def test_an_anatomy_is_kept_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    phantom().save(path)
    kept = Anatomy.load(path, "phantom")
    assert (kept.tissues == phantom().tissues).all()
    assert (kept.flows.velocities - phantom().flows.velocities).abs().max() < 2e-2
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="made again"):
        Anatomy.load(path, "phantom")
