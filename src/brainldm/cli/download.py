"""`brainldm download`: the published weights, or label maps to simulate heads from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import typer


@dataclass(frozen=True, kw_only=True)
class Download:
    """Fetch the published weights, or label maps, into the cache; what was interrupted continues.

    The cache is $BRAINLDM_CACHE, else $XDG_CACHE_HOME/brainldm, else ~/.cache/brainldm.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm download",
        "brainldm download label-maps",
    )
    resumes: ClassVar[bool] = True

    what: Annotated[
        Literal["published", "label-maps"],
        typer.Argument(
            help="The published model's weights, or label maps of twenty heads for "
            "`brainldm simulate`."
        ),
    ] = "published"

    def run(self) -> None:
        """Say what is fetched and under which licence, then fetch it."""
        from brainldm.cli.progress import transfers

        if self.what == "label-maps":
            from brainldm.simulate.download import download_label_maps, label_maps_notice

            typer.echo(label_maps_notice())
            with transfers() as progress:
                folder = download_label_maps(progress=progress)
            typer.echo(f"Saved in {folder}; use them with --label-maps {folder}")
            return

        from brainldm.checkpoint.download import download, notice

        typer.echo(notice())
        with transfers() as progress:
            folder = download(progress=progress)
        typer.echo(f"Saved in {folder}; use them with --model published")
