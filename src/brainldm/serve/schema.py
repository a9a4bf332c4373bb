"""What clients send and get, as JSON: jobs, heads, and the model that makes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from brainldm.sampling.noise import SEED_LIMIT

Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]
Name = Annotated[str, Field(max_length=80)]
Value = FiniteFloat | Annotated[str, Field(max_length=80)]
State = Literal["queued", "running", "finished", "failed", "cancelled"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Asked(_Strict):
    """What a job has in common with `brainldm generate`."""

    conditions: dict[str, Value | None] = Field(
        default={},
        max_length=64,
        description="By name, in the model's units; what is left out or null is drawn with the "
        "seed.",
    )
    seed: Seed | None = Field(default=None, description="Of the noise; random if left out.")
    sampler: Annotated[str, Field(max_length=20)] | None = Field(
        default=None, description="The model's own if left out."
    )
    steps: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Denoising steps; the usual number of the sampler if left out."
    )
    guidance: FiniteFloat = 1.0
    eta: FiniteFloat | None = None
    extrapolate: bool = Field(
        default=False, description="Accept conditions outside the model's ranges."
    )
    name: Name = Field(default="", description="Of the head, in the library.")


class Generate(Asked):
    """One head."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kind": "generate", "conditions": {"sex": "F", "age": 65}, "seed": 7}]
        }
    )
    kind: Literal["generate"]


class Sweep(Asked):
    """Heads of one seed that differ in one condition."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "sweep",
                    "conditions": {"sex": "F"},
                    "seed": 7,
                    "condition": "age",
                    "start": 45,
                    "stop": 80,
                    "count": 6,
                }
            ]
        }
    )
    kind: Literal["sweep"]
    condition: Annotated[str, Field(max_length=80)] = Field(description="The one that changes.")
    start: FiniteFloat = Field(description="Of the first head, in the model's unit.")
    stop: FiniteFloat = Field(description="Of the last head.")
    count: Annotated[int, Field(ge=2)] = Field(description="Heads.")


class Label(_Strict):
    """The structures of a head in the library, and what they measure."""

    kind: Literal["label"]
    head: Annotated[str, Field(max_length=80)] = Field(description="Its id.")


class Edit(_Strict):
    """A head of the library under other conditions, changed where the model changed it."""

    kind: Literal["edit"]
    head: Annotated[str, Field(max_length=80)] = Field(description="Its id.")
    changes: dict[str, Value] = Field(
        min_length=1,
        max_length=64,
        description='What conditions become, by name: 75 or "75", or by how much, "+10".',
    )
    known: dict[str, Value] = Field(
        default={},
        max_length=64,
        description="What the person is, where neither the head's record nor its labels say it.",
    )
    steps: Annotated[int, Field(ge=1, le=200)] | None = Field(
        default=None, description="Up to the noise, and down again; 16 if left out."
    )
    extrapolate: bool = Field(
        default=False, description="Accept conditions outside the model's ranges."
    )
    name: Name = Field(default="", description="Of the edited head, in the library.")


class Scan(_Strict):
    """A scan that was sent: what the model's autoencoder makes of it."""

    kind: Literal["scan"]
    file: str
    name: Name


Order = Annotated[Generate | Sweep | Label | Edit, Field(discriminator="kind")]
"""What a client may post."""
Stored = Annotated[Generate | Sweep | Label | Edit | Scan, Field(discriminator="kind")]
"""What the store keeps."""


class Job(BaseModel):
    """A job, and how far it is."""

    id: str
    kind: str
    state: State
    created: float = Field(description="Seconds since 1970; and so are the next two.")
    started: float | None = None
    ended: float | None = None
    place: int | None = Field(default=None, description="In the queue; 1 is next.")
    done: int = 0
    total: int = 0
    phase: str = Field(default="", description="What is counted.")
    seconds_left: float | None = None
    error: str | None = Field(default=None, description="Why it failed, and what to do.")
    heads: list[str] = Field(
        default=[], description="Ids of the heads that it made, once it is finished."
    )
    request: dict[str, Any] = Field(default={}, description="What was asked for.")


class Head(BaseModel):
    """An image of the library."""

    id: str
    job: str
    kind: Literal["synthetic", "scan", "reconstruction", "edited"]
    name: str
    created: float
    seed: int | None = None
    conditions: dict[str, Any] = Field(default={}, description="In both units, by name.")
    drawn: list[str] = Field(default=[], description="Conditions that nobody asked for.")
    notes: list[str] = []
    psnr: float | None = Field(default=None, description="Of a reconstruction, in dB.")
    of: str | None = Field(default=None, description="Id of the head that it was edited from.")
    quality: float | None = Field(
        default=None, description="Of its labels, the Dice to be expected; null without labels."
    )
    faults: list[str] = Field(default=[], description="Why no volumes are given.")
    measured: dict[str, float] = Field(default={}, description="Volumes in mL, by name.")
    file: str = Field(description="Name of the NIfTI.")
    command: str | None = Field(default=None, description="That makes it again.")
    python: str | None = Field(default=None, description="Code that makes it again.")


class Structure(BaseModel):
    """A label of a head."""

    number: int = Field(description="In the label image.")
    name: str
    colour: str
    volume_ml: float | None = Field(description="Null where volumes are not to be trusted.")


class Rename(_Strict):
    """A new name of a head."""

    name: Name


class Refusal(BaseModel):
    """Why a request was refused, and what to do."""

    error: str
