"""What a server takes on, so that no client can exhaust it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is refused beyond these.

    Args:
        waiting: jobs that may wait for the model.
        seconds: that a job may take.
        upload: bytes of a scan that is sent.
        body: bytes of any other request.
        sweep: heads of a sweep.
        heads: of an export.
    """

    waiting: int = 32
    seconds: float = 900.0
    upload: int = 2**28
    body: int = 2**16
    sweep: int = 24
    heads: int = 200

    def bytes_of(self, path: str) -> int:
        """How much is read of a request for a path."""
        return self.upload if path == "/v1/scans" else self.body
