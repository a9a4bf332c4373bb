"""What the routes work with: jobs are handed in here, and looked at."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from brainldm.config import ModelConfig
from brainldm.pipeline.request import random_seed
from brainldm.serve.editing import conditions_of
from brainldm.serve.heads import Library
from brainldm.serve.limits import Limits
from brainldm.serve.schema import Asked, Edit, Head, Job, Label, Refusal
from brainldm.serve.store import Store
from brainldm.serve.work import requests_of
from brainldm.serve.worker import Worker

REFUSALS: dict[int | str, dict[str, object]] = {
    422: {"model": Refusal, "description": "What cannot be, and what to do."}
}
NOT_THERE: dict[int | str, dict[str, object]] = {
    404: {"model": Refusal, "description": "There is none of that id."},
    **REFUSALS,
}


@dataclass(frozen=True)
class Desk:
    """All that a server has.

    Args:
        store: of jobs and heads.
        shelf: the library of files.
        worker: that does jobs.
        config: of the model.
        limits: of what is taken on.
    """

    store: Store
    shelf: Library
    worker: Worker
    config: ModelConfig
    limits: Limits

    def hand_in(self, asked: BaseModel, key: str | None, id: str | None = None) -> tuple[Job, bool]:
        """Put a job into the queue; what the model cannot do is refused at once.

        Args:
            asked: a request, as `schema` has them.
            key: the client's, by which the same request sent again is the same job.
            id: of the job; None for a new one.

        Raises:
            BrainLDMError: as `requests_of` and `Store.add`.
        """
        seed = random_seed()
        if isinstance(asked, Asked):
            requests_of(asked, self.config, self.limits, seed)
        if isinstance(asked, Label):
            self.head(asked.head)
        if isinstance(asked, Edit):
            conditions_of(asked, self.head(asked.head), self.config)
        content = asked.model_dump(mode="json")
        return self.store.add(id or new_id(), content, seed, key, self.limits.waiting)

    def job(self, id: str) -> Job:
        """A job with how far it is; 404 if there is none."""
        try:
            return self.worker.live(self.store.job(id))
        except KeyError:
            raise HTTPException(404, f"There is no job {id!r}.") from None

    def head(self, id: str) -> Head:
        """A head; 404 if there is none."""
        try:
            return self.store.head(id)
        except KeyError:
            raise HTTPException(404, f"There is no head {id!r} in the library.") from None

    def seconds_to_wait(self) -> int:
        """Until a place in the queue is free, roughly."""
        return max(1, math.ceil(self.store.usual_seconds()))


def new_id() -> str:
    """Of a job."""
    return secrets.token_hex(16)


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(_desk)]
