"""`brainldm serve`: a page to work in."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from brainldm.cli.options import (
    CoresPerWorker,
    ModelOptions,
    Ray,
    Segmenter,
    check_ray,
    integer,
    number,
)
from brainldm.errors import UsageError

LIMITS = "Limits"


@dataclass(frozen=True, kw_only=True)
class Serve(ModelOptions):
    """Open a page to make heads in, look at them and compare them; and the same over HTTP.

    Heads are kept in a folder, and are there again the next time.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm serve",
        "brainldm serve --out my-heads --port 9000 --no-browser",
    )

    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Folder of the heads that are made."),
    ] = Path("brainldm-library")
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on; one that other machines reach needs a token.",
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        typer.Option(parser=integer, metavar="INTEGER", help="Port to listen on; 0 takes any."),
    ] = 8765
    token: Annotated[
        str | None,
        typer.Option(
            envvar="BRAINLDM_TOKEN",
            metavar="TEXT",
            help="Token that requests have to bring; a random one if it is needed and left out.",
        ),
    ] = None
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Do not open the page in a browser.")
    ] = False
    segmenter: Segmenter = None
    ray: Ray = None
    cores_per_worker: CoresPerWorker = None
    waiting: Annotated[
        int,
        typer.Option(
            parser=integer,
            metavar="INTEGER",
            help="Number of jobs that may wait.",
            rich_help_panel=LIMITS,
        ),
    ] = 32
    seconds: Annotated[
        float,
        typer.Option(
            parser=number,
            metavar="SECONDS",
            help="Time that a job may take.",
            rich_help_panel=LIMITS,
        ),
    ] = 900.0

    def run(self) -> None:
        """Serve until Ctrl-C."""
        if self.waiting < 1 or not self.seconds > 0:
            raise UsageError(
                f"--waiting is {self.waiting} and --seconds {self.seconds:g}: expected at least "
                "one job, and more than no time."
            )
        if self.token is not None and len(self.token) < 16:
            raise UsageError("--token has fewer than 16 letters: expected one hard to guess.")

        check_ray(self.ray, self.cores_per_worker, self.threads)

        from brainldm.serve.limits import Limits
        from brainldm.serve.run import Server

        Server(
            model=self.choice(),
            folder=self.out,
            host=self.host,
            port=self.port,
            token=self.token,
            limits=Limits(waiting=self.waiting, seconds=self.seconds),
            segmenter=self.segmenter,
            ray=self.ray,
            cores=self.cores_per_worker,
        ).run(self._say)

    def _say(self, address: str, token: str) -> None:
        typer.echo(f"brainldm is at {address}")
        typer.echo(f"Heads are kept in {self.out.resolve()}; Ctrl-C ends it.")
        if not self.no_browser and sys.stdout.isatty() and _has_screen():
            import webbrowser

            webbrowser.open(address)


def _has_screen() -> bool:
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
