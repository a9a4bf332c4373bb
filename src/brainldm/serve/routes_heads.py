"""The library over HTTP: find heads, get their files, rename, delete and export them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from brainldm.errors import UsageError
from brainldm.serve.desk import NOT_THERE, REFUSALS, AtDesk
from brainldm.serve.schema import Head, Refusal, Rename, Structure

GONE: dict[int | str, dict[str, object]] = {
    **NOT_THERE,
    410: {"model": Refusal, "description": "Its file was taken out of the library's folder."},
}
UNLABELLED: dict[int | str, dict[str, object]] = {
    **GONE,
    409: {"model": Refusal, "description": "It has no labels yet."},
}
router = APIRouter(prefix="/v1", tags=["library"])


@router.get("/heads", summary="Find heads", responses=REFUSALS)
def heads(
    desk: AtDesk,
    search: Annotated[str, Query(max_length=100, description="In name or record.")] = "",
    most: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[Head]:
    """The newest first."""
    return desk.store.heads(search, most)


@router.get("/heads/{id}", summary="A head", responses=NOT_THERE)
def head(desk: AtDesk, id: str) -> Head:
    """What it is, and how it is made again."""
    return desk.head(id)


@router.patch("/heads/{id}", summary="Rename a head", responses=NOT_THERE)
def rename(desk: AtDesk, id: str, to: Rename) -> Head:
    """In the library; its files keep their names."""
    desk.head(id)
    return desk.store.rename(id, to.name)


@router.delete("/heads/{id}", status_code=204, summary="Delete a head", responses=NOT_THERE)
def delete(desk: AtDesk, id: str) -> None:
    """With its files."""
    head = desk.head(id)
    desk.store.drop(id)
    desk.shelf.drop(head)


@router.get(
    "/heads/{id}/volume",
    summary="The NIfTI of a head",
    response_class=FileResponse,
    responses={200: {"content": {"application/gzip": {}}}, **GONE},
)
def volume(desk: AtDesk, id: str) -> FileResponse:
    """Gzipped, in MNI152 space."""
    head = desk.head(id)
    return FileResponse(
        desk.shelf.file(head, "volume"), media_type="application/gzip", filename=head.file
    )


@router.get(
    "/heads/{id}/sidecar",
    summary="The JSON file of a head",
    response_class=FileResponse,
    responses={200: {"content": {"application/json": {}}}, **GONE},
)
def sidecar(desk: AtDesk, id: str) -> FileResponse:
    """As BIDS has it, with conditions and provenance."""
    path = desk.shelf.file(desk.head(id), "sidecar")
    return FileResponse(path, media_type="application/json")


@router.get(
    "/heads/{id}/thumbnail",
    summary="A picture of a head",
    response_class=FileResponse,
    responses={200: {"content": {"image/png": {}}}, **GONE},
)
def thumbnail(desk: AtDesk, id: str) -> FileResponse:
    """Three slices (PNG)."""
    path = desk.shelf.file(desk.head(id), "thumbnail")
    return FileResponse(path, media_type="image/png")


@router.get(
    "/heads/{id}/labels",
    summary="The label image of a head",
    response_class=FileResponse,
    responses={200: {"content": {"application/gzip": {}}}, **UNLABELLED},
)
def labels(desk: AtDesk, id: str) -> FileResponse:
    """A gzipped NIfTI on the head's own grid."""
    path = desk.shelf.file(_labelled(desk, id), "labels")
    return FileResponse(path, media_type="application/gzip", filename=path.name)


@router.get("/heads/{id}/structures", summary="What is labelled in a head", responses=UNLABELLED)
def structures(desk: AtDesk, id: str) -> list[Structure]:
    """Numbers, names, colours and volumes."""
    return desk.shelf.structures(_labelled(desk, id))


def _labelled(desk: AtDesk, id: str) -> Head:
    head = desk.head(id)
    if head.quality is None:
        raise HTTPException(
            409, f"Head {id} has no labels: expected a job of kind label for it before."
        )
    return head


@router.get(
    "/export",
    summary="Heads as a BIDS data set",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}, **GONE},
)
def export(
    desk: AtDesk, id: Annotated[list[str], Query(description="Of each head.", min_length=1)]
) -> Response:
    """A zip archive with participants.tsv."""
    if len(id) > desk.limits.heads:
        raise UsageError(
            f"An export of {len(id)} heads: expected {desk.limits.heads} at most. Copy the "
            "library's folder instead."
        )
    content = desk.shelf.export([desk.head(each) for each in dict.fromkeys(id)])
    name = {"Content-Disposition": 'attachment; filename="brainldm-heads.zip"'}
    return Response(content, media_type="application/zip", headers=name)
