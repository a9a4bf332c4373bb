"""What the header of an image says, checked: of NIfTI 1 and 2, alone or as a pair, and of MGH."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.freesurfer import mghformat
from numpy.typing import NDArray

from brainldm.errors import DataError

LENGTH = 540
"""Bytes that hold any of these headers."""
MOST_VOXELS = 2**28
"""Of an image, 1 GB as float32; a head at 0.3 mm has a quarter of them."""
MOST_OFFSET = 2**26
"""Bytes before the voxels: the header and what extends it."""
MOST_MM = 1e6
"""Of a voxel's size and of the origin."""
ROUNDING = 1e-3
"""By how much the squares of a quaternion may add to more than 1."""
SINGLE, PAIR = (b"n+1", b"n+2"), (b"ni1", b"ni2")
_MGH_OFFSET = 284
_Affine = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Header:
    """An image of real numbers, one volume, with a place in space.

    Args:
        shape: (X, Y, Z).
        affine: (4, 4), from voxel to world in mm.
        dtype: of the voxels in the file, which are in Fortran's order.
        offset: bytes before them.
        scaling: slope and intercept of intensities.
        unit: of lengths: "mm", "meter", "micron" or "unknown".
        paired: the voxels are in another file.
        mirrored: two matrices disagree about left and right.
    """

    shape: tuple[int, int, int]
    affine: _Affine
    dtype: np.dtype[Any]
    offset: int
    scaling: tuple[float, float] = (1.0, 0.0)
    unit: str = "mm"
    paired: bool = False
    mirrored: bool = False

    @property
    def length(self) -> int:
        """Bytes of the voxels."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse(content: bytes) -> Header:
    """The header that a file begins with.

    Raises:
        DataError: it is none of these formats; or a field is damaged, is not supported, or does
            not say where in space the image lies. The file is not named.
    """
    with np.errstate(all="ignore"):
        if len(content) >= _MGH_OFFSET and content[:4] == b"\0\0\0\1":
            return _mgh(np.frombuffer(content, mghformat.header_dtype, 1)[0])
        orders: tuple[Literal["<", ">"], ...] = ("<", ">")
        for dtype in (nib.nifti1.header_dtype, nib.nifti2.header_dtype):
            for order in orders:
                kind = dtype.newbyteorder(order)
                if len(content) >= kind.itemsize:
                    fields = np.frombuffer(content, kind, 1)[0]
                    if fields["sizeof_hdr"] == kind.itemsize:
                        return _nifti(fields, order)
    raise DataError(
        "Its first bytes are those of neither. Expected a whole NIfTI (.nii, .nii.gz, or .hdr with "
        ".img) or MGH file (.mgz, .mgh); convert it, for instance with mri_convert or dcm2niix."
    )


def _nifti(fields: Any, order: Literal["<", ">"]) -> Header:
    magic = bytes(fields["magic"])[:3]
    if magic not in SINGLE + PAIR:
        raise DataError(
            "It is an Analyze image, which does not say which side is left, or a damaged NIfTI. "
            "Expected a NIfTI: convert it with what knows its orientation."
        )
    unit = {1: "meter", 2: "mm", 3: "micron"}.get(int(fields["xyzt_units"]) & 7, "unknown")
    scaling = _finite(fields, "scl_slope"), _finite(fields, "scl_inter")
    if scaling[0] == 0:
        scaling = 1.0, 0.0
    dtype = _dtype(nib.nifti1.data_type_codes, int(fields["datatype"]), order)
    affine, mirrored = _place(fields)
    return Header(
        _shape(fields["dim"].tolist()),
        affine,
        dtype,
        _offset(fields, magic),
        scaling,
        unit,
        magic in PAIR,
        mirrored,
    )


def _mgh(fields: Any) -> Header:
    if not fields["goodRASFlag"]:
        raise DataError(_NOWHERE.format("goodRASFlag is 0"))
    sides = fields["dims"].tolist()
    shape = _shape([len(sides), *sides])
    affine = np.eye(4)
    affine[:3, :3] = fields["Mdc"].T.astype(np.float64) * fields["delta"]
    affine[:3, 3] = fields["Pxyz_c"] - affine[:3, :3] @ np.array(shape) / 2
    _check_affine(affine)
    dtype = _dtype(mghformat.data_type_codes, int(fields["type"]), ">")
    return Header(shape, affine, dtype, _MGH_OFFSET)


_NOWHERE = (
    "It does not say where in space it lies ({}), so that left cannot be told from right. Expected "
    "a header with an affine: convert the scan from DICOM again, or set the affine if you know it."
)


def _wrong(what: str) -> DataError:
    return DataError(f"Its header is damaged: {what}. Convert the scan again, or fetch the file.")


def _finite(fields: Any, name: str) -> float:
    value = float(fields[name])
    # Many write NaN for no scaling.
    if math.isnan(value) and name == "scl_slope":
        return 0.0
    if not math.isfinite(value) and (name != "scl_inter" or fields["scl_slope"]):
        raise _wrong(f"{name} is {value}, where a number was expected")
    return value


def _shape(dim: list[int]) -> tuple[int, int, int]:
    sides = dim[1 : dim[0] + 1]
    if not 1 <= dim[0] <= 7 or min(sides) < 1:
        raise _wrong(f"dim is {dim}, where 1 to 7 sides of at least one voxel were expected")
    if len(sides) < 3 or math.prod(sides[3:]) > 1:
        raise DataError(
            f"The shape is {tuple(sides)}: expected three dimensions (X, Y, Z). Take one volume of "
            "a series before giving it, such as image.slicer[..., 0]."
        )
    if math.prod(sides) > MOST_VOXELS:
        raise _wrong(f"dim is {sides[:3]}, where at most {MOST_VOXELS} voxels were expected")
    return sides[0], sides[1], sides[2]


def _dtype(codes: Any, code: int, order: Literal["<", ">"]) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(codes.dtype[code]).newbyteorder(order)
    except KeyError:
        raise _wrong(f"the data type is {code}, which is none") from None
    if dtype.kind not in "iuf" or not dtype.itemsize:
        raise DataError(
            f"It holds values of type {codes.label[code]}: expected real numbers, one a voxel. "
            "Save the magnitude or one channel of it."
        )
    return dtype


def _offset(fields: Any, magic: bytes) -> int:
    offset, least = float(fields["vox_offset"]), int(fields["sizeof_hdr"]) + 4
    if offset == 0 and magic in SINGLE:
        offset = least
    if not (least if magic in SINGLE else 0) <= offset <= MOST_OFFSET or offset % 1:
        raise _wrong(f"vox_offset is {offset:g}, where the end of the header was expected")
    return int(offset)


def _place(fields: Any) -> tuple[_Affine, bool]:
    """The affine; and whether the sform and the qform disagree about left and right."""
    if fields["sform_code"] <= 0 and fields["qform_code"] <= 0:
        raise DataError(_NOWHERE.format("its sform and qform codes are 0"))
    affine, turns = np.eye(4), None
    if fields["qform_code"] > 0:
        affine[:3] = _qform(fields, alone=fields["sform_code"] <= 0)
        turns = fields["pixdim"][0] < 0
    if fields["sform_code"] > 0:
        affine[:3] = [fields[f"srow_{axis}"] for axis in "xyz"]
    _check_affine(affine)
    return affine, turns is not None and bool(turns) != bool(np.linalg.det(affine) < 0)


def _check_affine(affine: _Affine) -> None:
    if not (np.abs(affine) < MOST_MM).all() or abs(np.linalg.det(affine)) < 1e-12:
        raise _wrong(
            f"the affine is {affine.tolist()}, where an invertible matrix of numbers below "
            f"{MOST_MM:g} was expected"
        )


def _qform(fields: Any, alone: bool) -> _Affine:
    """The first three rows; `alone`: the image lies where they say, for it has no sform."""
    turn = np.array([fields[f"quatern_{axis}"] for axis in "bcd"], dtype=np.longdouble)
    origin = np.array([fields[f"qoffset_{axis}"] for axis in "xyz"])
    sides = fields["pixdim"][:4].copy()
    if not (np.isfinite(turn).all() and np.isfinite(origin).all() and np.isfinite(sides).all()):
        raise _wrong(
            f"the quaternion is {turn.tolist()}, of voxels {sides.tolist()} at {origin.tolist()}, "
            "where numbers were expected"
        )
    if not alone:  # not used, but for its hand
        return np.eye(4)[:3]
    squares = np.longdouble(1 - turn @ turn)
    if squares < -ROUNDING or min(sides[1:]) <= 0 or sides[0] not in (-1, 0, 1):
        raise _wrong(
            f"the quaternion is {turn.tolist()}, of voxels {sides.tolist()}, where squares that "
            "add to at most 1, and positive sizes, were expected"
        )
    # What rounding made negative is 0, as FSL and ITK have it.
    matrix = nib.quaternions.quat2mat([np.sqrt(squares.clip(0)), *turn])
    sides[3] *= -1 if sides[0] < 0 else 1
    rows: _Affine = np.column_stack([matrix * sides[1:], origin]).astype(np.float64)
    return rows
