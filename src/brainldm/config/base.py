"""What all parts of a configuration have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MOST = 2**16
"""Channels, sides and steps beyond which a number is a mistake, and would fill the memory."""
LEVELS = 16
"""Levels of a network and blocks of a level, likewise."""

Positive = Annotated[int, Field(gt=0, le=MOST)]
Few = Annotated[int, Field(gt=0, le=LEVELS)]


class Config(BaseModel):
    """Frozen, and an unknown key is an error: a typing mistake must not pass as a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def wrong_fields(error: ValidationError) -> list[str]:
    """What is wrong with each field that pydantic refuses, by its path."""
    return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
