"""The door by which images come in: what other tools write is read, and nothing else."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainldm.errors import BrainLDMError, DataError, StorageError
from brainldm.image.reading import files_of, image_sha256
from brainldm.image.volume import Volume, read_grid

AFFINE = np.array([[-1.5, 0, 0, 8], [0, 2, 0, -11], [0, 0, 2, -9], [0, 0, 0, 1.0]])
ARRAY = np.random.default_rng(0).integers(0, 1000, (9, 11, 7)).astype(np.int16)
# Where NIfTI 1 keeps a field, and of which kind it is.
FIELDS = {
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl": (112, "2f"),
    "units": (123, "B"),
    "codes": (252, "2h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow": (280, "12f"),
}


def image(sform: int = 1, qform: int = 1) -> nib.Nifti1Image:
    made = nib.Nifti1Image(ARRAY, AFFINE)
    made.set_sform(AFFINE, sform)
    made.set_qform(AFFINE, qform)
    return made


def patched(path: Path, field: str, *values: float, made: nib.Nifti1Image | None = None) -> Path:
    raw = bytearray((made or image()).to_bytes())
    at, kind = FIELDS[field]
    struct.pack_into(f"<{len(values)}{kind[-1]}", raw, at, *values)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.hdr", "x.img", "x.img.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_what_nibabel_writes_is_read_as_nibabel_reads_it(
    tmp_path: Path, name: str, kind: type[nib.Nifti1Image]
) -> None:
    made = kind(ARRAY, AFFINE)
    made.header.set_slope_inter(0.37, -12.3)
    nib.save(made, tmp_path / name)
    volume, expected = Volume.load(tmp_path / name), nib.load(tmp_path / name)
    np.testing.assert_array_equal(volume.array, expected.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(volume.affine, expected.affine)
    assert read_grid(tmp_path / name).equals(volume.grid)


@pytest.mark.parametrize("name", ["x.mgz", "x.mgh"])
def test_mgh(tmp_path: Path, name: str) -> None:
    nib.save(nib.MGHImage(ARRAY, AFFINE), tmp_path / name)
    volume = Volume.load(tmp_path / name)
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)


def test_a_pair_is_two_files_with_one_hash(tmp_path: Path) -> None:
    nib.save(image(), tmp_path / "x.img")
    header, voxels = files_of(tmp_path / "x.img")
    assert (header.name, voxels.name) == ("x.hdr", "x.img")
    before = image_sha256(header)
    assert before == image_sha256(voxels)
    voxels.write_bytes(voxels.read_bytes()[:-1] + b"\7")
    assert image_sha256(header) != before
    voxels.unlink()
    with pytest.raises(StorageError, match=r"Cannot read .*x\.img"):
        Volume.load(header)


@pytest.mark.parametrize("name", ["x.nii.gz", "x.mgz"])
def test_no_flipped_bit_of_a_packed_file_goes_unseen(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    nib.save((nib.MGHImage if name.endswith("mgz") else nib.Nifti1Image)(ARRAY, AFFINE), path)
    whole, content = Volume.load(path).array, path.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for place in rng.integers(10, len(content), 60):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            zlib.decompress(damaged, 31)
        except zlib.error:
            refused += 1
            with pytest.raises(DataError, match="Cannot read"):
                Volume.load(path)
        else:
            np.testing.assert_array_equal(Volume.load(path).array, whole)
    assert refused > 50


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packed: packed[:-8],
        lambda packed: packed[:-8] + b"\0" * 8,
        lambda packed: packed + b"more",
        lambda packed: packed + gzip.compress(bytes(2**23)),
    ],
    ids=["no end", "checksum", "more behind", "a bomb behind"],
)
def test_a_stream_that_does_not_end_well(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(spoil(gzip.compress(image().to_bytes())))
    with pytest.raises(DataError, match="Cannot read"):
        Volume.load(path)


def test_sizes_are_held_against_the_file_before_memory_is_taken(tmp_path: Path) -> None:
    for name, dim in (("a.nii", 2000), ("b.nii.gz", 2000), ("c.nii", 400), ("d.nii.gz", 400)):
        path = patched(tmp_path / name, "dim", 3, dim, dim, dim)
        with pytest.raises(DataError, match=r"is cut short|at most \d+ voxels"):
            Volume.load(path)
        with pytest.raises(DataError, match=r"is cut short|at most \d+ voxels"):
            read_grid(path)


@pytest.mark.parametrize("shape", [(9, 11, 7, 1), (9, 11, 7, 1, 1)])
def test_a_series_of_one_volume_is_that_volume(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nib.save(nib.Nifti1Image(ARRAY.reshape(shape), AFFINE), tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(Volume.load(tmp_path / "x.nii.gz").array, ARRAY)


def test_nan_around_a_head_is_air_and_is_said(tmp_path: Path) -> None:
    array = ARRAY.astype(np.float32)
    array[:2] = np.nan
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "x.nii.gz")
    with pytest.warns(UserWarning, match=r"x\.nii\.gz: 154 of its 693 values are NaN"):
        volume = Volume.load(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(volume.array[:2], np.nanmin(array))
    np.testing.assert_array_equal(volume.array[2:], array[2:])
    array[5, 5, 5] = np.nan
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "x.nii.gz")
    with pytest.raises(DataError, match="1 places within the head where values are NaN"):
        Volume.load(tmp_path / "x.nii.gz")
    array[5, 5, 5] = np.inf
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "x.nii.gz")
    with pytest.warns(UserWarning, match="NaN"), pytest.raises(DataError, match="infinite"):
        Volume.load(tmp_path / "x.nii.gz")


def test_a_quaternion_that_was_rounded(tmp_path: Path) -> None:
    # Half a turn about an axis between x and y; the squares add to 1.000005.
    rounded = 0.70710724, 0.70710724, 0.002
    both = Volume.load(patched(tmp_path / "a.nii", "quatern", *rounded))
    np.testing.assert_array_equal(both.affine, AFFINE)
    alone = Volume.load(patched(tmp_path / "b.nii", "quatern", *rounded, made=image(sform=0)))
    sizes = nib.affines.voxel_sizes(AFFINE)
    np.testing.assert_allclose(nib.affines.voxel_sizes(alone.affine), sizes, rtol=1e-5)
    turn = alone.affine[:3, :3] / sizes * [1, 1, -1]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(turn[:2, :2], [[0, 1], [1, 0]], atol=1e-4)
    with pytest.raises(DataError, match="the quaternion is"):
        Volume.load(patched(tmp_path / "c.nii", "quatern", 1, 1, 0, made=image(sform=0)))


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_no_real_numbers(tmp_path: Path, dtype: object) -> None:
    array = np.zeros(ARRAY.shape, np.dtype(dtype))  # type: ignore[arg-type]
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "x.nii")
    with pytest.raises(DataError, match="expected real numbers"):
        Volume.load(tmp_path / "x.nii")


def test_an_analyze_image_does_not_say_where_left_is(tmp_path: Path) -> None:
    nib.save(nib.AnalyzeImage(ARRAY, AFFINE), tmp_path / "x.img")
    with pytest.raises(DataError, match="which side is left"):
        Volume.load(tmp_path / "x.img")


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / ("x" * 300 + ".nii"), "/dev/zero", tmp_path / "no.nii"):
        with pytest.raises(StorageError, match="Cannot read"):
            Volume.load(path)


NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, tuple[float, ...]]:
    field = draw(st.sampled_from(sorted(FIELDS)))
    kind = FIELDS[field][1]
    if kind[-1] == "f":
        values = st.one_of(NUMBERS, st.sampled_from([0.0, -1.0, 1.0, 1e30, float("nan")]))
    else:
        least, most = {"h": (-32768, 32767), "B": (0, 255)}[kind[-1]]
        values = st.one_of(st.integers(least, most), st.integers(max(least, -2), 8))
    return field, tuple(draw(values) for _ in range(int(kind[:-1] or 1)))


@given(st.lists(changes(), min_size=1, max_size=3), st.sampled_from([".nii", ".nii.gz"]))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_header_is_read_or_refused(
    tmp_path: Path, said: list[tuple[str, tuple[float, ...]]], end: str
) -> None:
    raw = bytearray(image().to_bytes())
    for field, values in said:
        struct.pack_into(f"<{FIELDS[field][1]}", raw, FIELDS[field][0], *values)
    (tmp_path / f"x{end}").write_bytes(gzip.compress(raw, 1) if end.endswith("gz") else raw)
    with suppress(BrainLDMError):
        assert np.isfinite(Volume.load(tmp_path / f"x{end}").array).all()


@given(st.binary(max_size=700), st.sampled_from([b"", b"\x1f\x8b\x08", b"\0\0\0\1", b"\x5c\1\0\0"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused(tmp_path: Path, content: bytes, start: bytes) -> None:
    (tmp_path / "x.nii.gz").write_bytes(start + content)
    with pytest.raises(DataError, match=r"x\.nii\.gz"):
        Volume.load(tmp_path / "x.nii.gz")
