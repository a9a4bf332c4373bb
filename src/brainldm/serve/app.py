"""The application: a page, and under /v1 what it asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from brainldm._version import __version__
from brainldm.config import ModelConfig
from brainldm.errors import BrainLDMError, StorageError
from brainldm.files.filling import LOCK, lock
from brainldm.serve import routes_heads, routes_jobs
from brainldm.serve.about import About, about
from brainldm.serve.desk import Desk
from brainldm.serve.hand import Hand
from brainldm.serve.heads import Library
from brainldm.serve.limits import Limits
from brainldm.serve.store import FullError, OtherRequestError, Store
from brainldm.serve.worker import Worker

PAGE = Path(__file__).parent / "page"
ABOUT = (
    "Synthetic 3-D brain MRI over HTTP. Post a job, follow it, get the volume. Every image of kind "
    "`synthetic` shows no person."
)


def application(
    hands: Sequence[Hand],
    config: ModelConfig,
    library: Library,
    limits: Limits,
) -> FastAPI:
    """The application for one model and one library.

    Args:
        hands: that do jobs.
        config: of the model that they have.
        library: where heads go.
        limits: of what is taken on.

    Raises:
        StorageError: the library's folder cannot be used, or another process serves it.
        BrainLDMError: the model cannot be loaded.
    """
    held = lock(library.folder / LOCK, f"serves {library.folder}")
    store = Store(library.folder / "library.sqlite")
    worker = Worker(store, hands, limits.seconds)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        worker.stop()
        store.close()
        held.release()

    app = FastAPI(
        title="brainldm",
        version=__version__,
        description=ABOUT,
        lifespan=life,
        docs_url=None,  # its page would be fetched from elsewhere
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    app.state.desk = Desk(store, library, worker, config, limits)
    known = about(config, hands[0].facts(), limits)

    @app.get("/v1/health/live", tags=["health"], summary="Whether the server runs")
    def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get(
        "/v1/health/ready",
        tags=["health"],
        summary="Whether the model is warm",
        responses={503: {"description": "Not yet."}},
    )
    def ready() -> JSONResponse:
        return JSONResponse({"ready": worker.ready}, status_code=200 if worker.ready else 503)

    @app.get("/v1/model", tags=["model"], summary="The model, and what it can be asked for")
    def what() -> About:
        return known

    app.include_router(routes_jobs.router)
    app.include_router(routes_heads.router)

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE))
    _answer_errors(app)
    return app


def _answer_errors(app: FastAPI) -> None:
    """Every refusal is JSON with a reason."""

    @app.exception_handler(BrainLDMError)
    def refused(request: Request, error: BrainLDMError) -> JSONResponse:
        status, headers = 422, {}
        if isinstance(error, FullError):
            wait = request.app.state.desk.seconds_to_wait()
            status, headers = 429, {"Retry-After": str(wait)}
        elif isinstance(error, OtherRequestError):
            status = 409
        elif isinstance(error, StorageError):
            status = 410
        return JSONResponse({"error": str(error)}, status, headers)

    @app.exception_handler(RequestValidationError)
    def unclear(request: Request, error: RequestValidationError) -> JSONResponse:
        lines = [
            f"{'.'.join(str(part) for part in each['loc'][1:]) or each['loc'][0]}: {each['msg']}"
            for each in error.errors()
        ]
        return JSONResponse({"error": "; ".join(lines)}, 422)

    @app.exception_handler(HTTPException)
    def other(request: Request, error: HTTPException) -> JSONResponse:
        headers: Any = error.headers
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers)
