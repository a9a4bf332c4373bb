"""`brainldm download`: the published weights."""

from __future__ import annotations

import typer


def download() -> None:
    """Fetch the published weights into the cache; an interrupted transfer continues.

    The cache is $BRAINLDM_CACHE, else $XDG_CACHE_HOME/brainldm, else ~/.cache/brainldm.
    """
    from brainldm.checkpoint.download import download as fetch_all
    from brainldm.checkpoint.download import notice
    from brainldm.cli.progress import transfers

    typer.echo(notice())
    with transfers() as progress:
        folder = fetch_all(progress=progress)
    typer.echo(f"Saved in {folder}; use them with --model published")
