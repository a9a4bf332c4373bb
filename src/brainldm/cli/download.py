"""`brainldm download`: the published weights."""

from __future__ import annotations

from dataclasses import dataclass

import typer


@dataclass(frozen=True, kw_only=True)
class Download:
    """Fetch the published weights into the cache; an interrupted transfer continues.

    The cache is $BRAINLDM_CACHE, else $XDG_CACHE_HOME/brainldm, else ~/.cache/brainldm.
    """

    def run(self) -> None:
        """Say what is fetched and under which licence, then fetch it."""
        from brainldm.checkpoint.download import download, notice
        from brainldm.cli.progress import transfers

        typer.echo(notice())
        with transfers() as progress:
            folder = download(progress=progress)
        typer.echo(f"Saved in {folder}; use them with --model published")
