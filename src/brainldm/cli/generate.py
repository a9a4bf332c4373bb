"""`brainldm generate`: heads from conditions."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainldm.cli.options import (
    Device,
    Dtype,
    Guidance,
    Memory,
    ModelName,
    Out,
    Overwrite,
    Preview,
    Sampler,
    Steps,
    integer,
    number,
)
from brainldm.conditions import STANDARD, Conditions
from brainldm.errors import BrainLDMError
from brainldm.files import make_folder, refuse_existing
from brainldm.image.volume import Volume, output_paths

if TYPE_CHECKING:
    from brainldm.sampling.solvers import Solver


WHO = "Who (drawn with the seed if left out)"


def generate(
    sex: Annotated[str | None, typer.Option(help="F or M.", rich_help_panel=WHO)] = None,
    age: Annotated[
        float | None,
        typer.Option(parser=number, metavar="NUMBER", help="Years.", rich_help_panel=WHO),
    ] = None,
    ventricular_volume_ml: Annotated[
        float | None,
        typer.Option(
            parser=number,
            metavar="NUMBER",
            help="Ventricular cerebrospinal fluid, mL.",
            rich_help_panel=WHO,
        ),
    ] = None,
    brain_volume_ml: Annotated[
        float | None,
        typer.Option(
            parser=number,
            metavar="NUMBER",
            help="Brain volume normalised for head size, mL.",
            rich_help_panel=WHO,
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A further condition of the model (`brainldm info` lists them); again for more.",
            rich_help_panel=WHO,
        ),
    ] = None,
    normalised: Annotated[
        bool,
        typer.Option(
            "--normalised",
            help="The values above are not in years, mL, ... but on the model's own scale, "
            "where 0 and 1 are the ends of its ranges (sex: 0 female, 1 male).",
            rich_help_panel=WHO,
        ),
    ] = False,
    extrapolate: Annotated[
        bool,
        typer.Option(
            "--extrapolate", help="Accept values outside the model's ranges.", rich_help_panel=WHO
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            parser=integer,
            metavar="INTEGER",
            help="Seed of the first head; a random one if left out.",
        ),
    ] = None,
    heads: Annotated[
        int,
        typer.Option(
            "--number",
            parser=integer,
            metavar="INTEGER",
            help="How many heads: seeds SEED, SEED + 1, ...",
        ),
    ] = 1,
    steps: Steps = None,
    sampler: Sampler = "unipc",
    eta: Annotated[
        float | None,
        typer.Option(
            parser=number,
            metavar="NUMBER",
            help="Noise that ddim adds at each step, from 0 (none, the default) to 1 (as ddpm).",
        ),
    ] = None,
    guidance: Guidance = 1.0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    model: ModelName = "demo",
    preview: Preview = False,
    out: Out = Path("."),
    overwrite: Overwrite = False,
) -> None:
    """Generate synthetic T1-weighted heads of a chosen sex, age, ventricular and brain volume.

    Writes brain_seed-SEED_T1w.nii.gz and beside it a .json that says how it was made.
    """
    if heads < 1:
        raise BrainLDMError(f"--number is {heads}: expected how many heads to make, 1 or more.")
    if seed is None:
        seed = secrets.randbelow(2**31)
    paths = {each: out / f"brain_seed-{each}_T1w.nii.gz" for each in range(seed, seed + heads)}
    make_folder(out)
    if not overwrite:
        refuse_existing([file for path in paths.values() for file in output_paths(path)])
    conditions = Conditions(
        _number_or_label(sex) if sex and normalised else sex,
        age,
        ventricular_volume_ml,
        brain_volume_ml,
        others=_others(condition or [], model),
        normalised=normalised,
    )

    from brainldm.cli.progress import phases
    from brainldm.pipeline.brain import BrainLDM

    pipeline = BrainLDM.from_pretrained(model, device=device, dtype=dtype, memory=memory)
    made = []
    with phases(heads) as progress:
        for each, path in paths.items():
            (volume,) = pipeline.generate(
                conditions,
                [each],
                steps=steps,
                sampler=_solver(sampler, eta),
                guidance=guidance,
                extrapolate=extrapolate,
                progress=progress,
            )
            volume.save(path, overwrite=overwrite, preview=preview)
            made.append(_summary(each, volume))
    typer.echo("\n".join(made))
    names = [path.name for path in paths.values()]
    what = names[0] if heads == 1 else f"{heads} heads, {names[0]} to {names[-1]},"
    typer.echo(f"Saved {what} in {out.resolve()}")


def _others(texts: list[str], model: str) -> dict[str, str | float]:
    """What NAME=VALUE say; the standard conditions have options of their own."""
    others: dict[str, str | float] = {}
    labels = {}
    if texts:
        from brainldm.checkpoint import load_config

        labels = {each.name: each.labels or () for each in load_config(model).conditions}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise BrainLDMError(
                f"--condition is {text!r}: expected NAME=VALUE, such as field_strength_t=3."
            )
        if name in STANDARD:
            raise BrainLDMError(
                f"--condition {text}: give it as --{name.replace('_', '-')} {value} instead."
            )
        if name in others:
            raise BrainLDMError(f"--condition {name} was given twice: expected one value for it.")
        others[name] = value if value in labels.get(name, ()) else _number_or_label(value)
    return others


def _number_or_label(text: str) -> str | float:
    """A number where it reads as one; on the model's own scale, a sex may be one."""
    try:
        return float(text)
    except ValueError:
        return text


def _solver(sampler: str, eta: float | None) -> str | Solver:
    if eta is None:
        return sampler
    if sampler != "ddim":
        raise BrainLDMError(
            f"--eta {eta} is for the sampler ddim, not {sampler}: leave it out, or choose "
            "--sampler ddim."
        )
    from brainldm.sampling.solvers import DDIM

    return DDIM(eta=eta)


def _summary(seed: int, volume: Volume) -> str:
    """One line: who the head is, and what of that was drawn."""
    made = (volume.metadata or {})["brainldm"]
    values = []
    for name, condition in made["conditions"].items():
        value = condition["value"]
        text = value if isinstance(value, str) else f"{value:.1f} {condition['unit']}".rstrip()
        drawn = " (drawn)" if name in made["drawn"] else ""
        values.append(f"{name.removesuffix('_ml').replace('_', ' ')} {text}{drawn}")
    return f"Seed {seed}: {', '.join(values)}"
