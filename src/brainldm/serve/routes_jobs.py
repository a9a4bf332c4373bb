"""Jobs over HTTP: hand one in, follow it, cancel it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from brainldm.errors import UsageError
from brainldm.serve.desk import NOT_THERE, REFUSALS, AtDesk, Desk, new_id
from brainldm.serve.schema import Job, Name, Order, Refusal, Scan, State

LOOK_SECONDS, BEAT_SECONDS = 0.15, 15.0
ENDED: tuple[State, ...] = ("finished", "failed", "cancelled")
STATES: tuple[State, ...] = ("queued", "running", *ENDED)
SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh")
"""Of scans that are taken: those of one file."""
TAKEN: dict[int | str, dict[str, object]] = {
    200: {"model": Job, "description": "The job that this key has already."},
    409: {"model": Refusal, "description": "The key was used for another request."},
    429: {"model": Refusal, "description": "The queue is full; Retry-After says for how long."},
    413: {"model": Refusal, "description": "More than is read."},
    **REFUSALS,
}
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="The same request sent again with it is the same job.",
    ),
]
router = APIRouter(prefix="/v1", tags=["jobs"])


@router.post(
    "/jobs",
    status_code=202,
    response_model=Job,
    responses={**NOT_THERE, **TAKEN},
    summary="Ask for heads",
)
def hand_in(desk: AtDesk, order: Annotated[Order, Body()], key: Key = None) -> JSONResponse:
    """A head, a sweep (heads of one seed that differ in one condition), or the labels or an edit of
    a head in the library.
    """
    return _taken(*desk.hand_in(order, key))


@router.post(
    "/scans",
    status_code=202,
    response_model=Job,
    responses=TAKEN,
    summary="Send a scan",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"format": "binary"}}},
        }
    },
)
async def send(
    request: Request,
    desk: AtDesk,
    name: Annotated[str, Query(max_length=200, description="Of the file, such as t1.nii.gz.")],
    key: Key = None,
) -> JSONResponse:
    """A T1-weighted head (NIfTI or MGH) as the body: checked, registered, reconstructed."""
    suffix = next((each for each in SUFFIXES if name.lower().endswith(each)), None)
    if suffix is None:
        raise UsageError(f"The file is {name!r}: expected a name that ends in .nii.gz or .mgz.")
    id = new_id()
    file = desk.shelf.uploads / f"{id}{suffix}"
    try:
        with file.open("xb") as out:
            async for piece in request.stream():
                await run_in_threadpool(out.write, piece)
        title: Name = name[: -len(suffix)].rsplit("/")[-1].rsplit("\\")[-1][:60]
        scan = Scan(kind="scan", file=file.name, name=title)
        job, fresh = await run_in_threadpool(desk.hand_in, scan, key, id)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    if not fresh:
        file.unlink(missing_ok=True)
    return _taken(job, fresh)


def _taken(job: Job, fresh: bool) -> JSONResponse:
    where = {"Location": f"/v1/jobs/{job.id}"}
    return JSONResponse(job.model_dump(), 202 if fresh else 200, where)


@router.get("/jobs", summary="The latest jobs", responses=REFUSALS)
def jobs(
    desk: AtDesk,
    state: Annotated[list[State] | None, Query(description="Of those; all if left out.")] = None,
    most: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[Job]:
    """The newest first."""
    return [desk.worker.live(job) for job in desk.store.jobs(state or STATES, most)]


@router.get("/jobs/{id}", summary="A job, and how far it is", responses=NOT_THERE)
def job(desk: AtDesk, id: str) -> Job:
    """Its heads stand in it once it is finished."""
    return desk.job(id)


@router.delete(
    "/jobs/{id}",
    summary="Cancel a job",
    responses={**NOT_THERE, 409: {"model": Refusal, "description": "It has ended."}},
)
def cancel(desk: AtDesk, id: str) -> Job:
    """One that runs ends at its next step."""
    desk.job(id)
    if not desk.worker.cancel(id):
        raise HTTPException(409, f"Job {id} has ended: expected one that waits or runs.")
    return desk.job(id)


@router.get(
    "/jobs/{id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **NOT_THERE},
)
async def events(desk: AtDesk, id: str) -> StreamingResponse:
    """Server-sent events: the job, whenever it changes, until it has ended."""
    await run_in_threadpool(desk.job, id)
    headers = {"Cache-Control": "no-store"}
    return StreamingResponse(_follow(desk, id), media_type="text/event-stream", headers=headers)


async def _follow(desk: Desk, id: str) -> AsyncIterator[str]:
    said, silent = "", 0.0
    while True:
        job = await run_in_threadpool(desk.job, id)
        seen = {**job.model_dump(exclude={"request"}), "preview": bool(desk.worker.picture(id))}
        text = json.dumps(seen)
        if text != said:
            yield f"data: {text}\n\n"
            said, silent = text, 0.0
        if job.state in ENDED:
            return
        await asyncio.sleep(LOOK_SECONDS)
        silent += LOOK_SECONDS
        if silent >= BEAT_SECONDS:
            yield ": still there\n\n"
            silent = 0.0


@router.get(
    "/jobs/{id}/preview",
    summary="A look at a head that is being denoised",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **NOT_THERE},
)
def preview(desk: AtDesk, id: str) -> Response:
    """Three coarse slices (PNG)."""
    desk.job(id)
    picture = desk.worker.picture(id)
    if picture is None:
        raise HTTPException(404, f"Job {id} denoises nothing now.")
    return Response(picture, media_type="image/png", headers={"Cache-Control": "no-store"})


@router.get(
    "/jobs/{id}/animation",
    summary="The heads of a sweep as one animated picture",
    response_class=Response,
    responses={200: {"content": {"image/gif": {}}}, **NOT_THERE},
)
def animation(desk: AtDesk, id: str) -> Response:
    """Three slices of each head, there and back (GIF)."""
    heads = [desk.head(each) for each in desk.job(id).heads]
    if len(heads) < 2:
        raise HTTPException(404, f"Job {id} has {len(heads)} heads: expected two or more.")
    name = f'attachment; filename="sweep-{id[:8]}.gif"'
    content = desk.shelf.animation(heads)
    return Response(content, media_type="image/gif", headers={"Content-Disposition": name})
