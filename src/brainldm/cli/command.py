"""How a verb becomes a command: a dataclass whose fields are its options.

@dataclass(frozen=True, kw_only=True)
class Greet:
    '''Greet somebody.'''                                              # the help

    name: Annotated[str, typer.Option(help="Name of the person.")]     # --name

    def run(self) -> None: ...

add(app, Greet)                                                        # brainldm greet --name X
"""

from __future__ import annotations

import inspect
from typing import Any, Protocol, get_type_hints

import typer


class Command(Protocol):
    """A dataclass of options that does something."""

    def run(self) -> None:
        """Do it."""


def add(app: typer.Typer, command: type[Command]) -> None:
    """Add a command to an application, named as its class in lower case."""

    def call(**options: Any) -> None:
        command(**options).run()

    # Typer reads the options from a function's signature, and the help from its docstring.
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    options = [each.replace(annotation=hints[name]) for name, each in signature.parameters.items()]
    call.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    call.__doc__ = command.__doc__
    app.command(command.__name__.lower())(call)
