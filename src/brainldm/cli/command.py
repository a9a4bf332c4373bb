"""How a verb becomes a command: a dataclass whose fields are its options.

@dataclass(frozen=True, kw_only=True)
class Greet:
    '''Greet somebody.'''                                              # the help

    examples = ("brainldm greet --name X",)                            # stand below it

    name: Annotated[str, typer.Option(help="Name of the person.")]     # --name

    def run(self) -> None: ...

add(app, Greet)                                                        # brainldm greet --name X
"""

from __future__ import annotations

import inspect
import traceback
from typing import Annotated, Any, ClassVar, Protocol, get_type_hints

import typer
from typer.core import TyperCommand

from brainldm.cli import voice
from brainldm.conditions import STANDARD
from brainldm.errors import BrainLDMError, UsageError

INTERRUPTED = 130
ONE = frozenset({"seed", *STANDARD})
"""Options that somebody gives twice who wants two heads."""


class Command(Protocol):
    """A dataclass of options that does something."""

    examples: ClassVar[tuple[str, ...]]
    """Command lines to begin with, of which the first is the simplest."""

    def run(self) -> None:
        """Do it."""


class Verb(TyperCommand):
    """A command that refuses two people or two seeds where it takes one.

    Of any other option the last one counts, as in all of the shell.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""  # Typer would call it <bool>

    def get_help_option(self, ctx: Any) -> Any:
        """--help, which takes nothing either."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.metavar = ""
        return option

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, but not the same of `ONE` twice."""
        if not ctx.resilient_parsing:
            order: list[Any] = self.make_parser(ctx).parse_args(args=list(args))[2]
            for parameter in order:
                if parameter.name in ONE and order.count(parameter) > 1:
                    more = "; for more heads, --number" if parameter.name == "seed" else ""
                    raise UsageError(
                        f"{parameter.opts[0]} was given {order.count(parameter)} times: expected "
                        f"it once{more}."
                    )
        return super().parse_args(ctx, args)


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also print versions, and where an error arose.")
]


def add(app: typer.Typer, command: type[Command]) -> None:
    """Add a command to an application, named as its class in lower case."""

    def call(*, quiet: bool, verbose: bool, **options: Any) -> None:
        with voice.speaking(quiet=quiet, verbose=verbose):
            try:
                command(**options).run()
            except BrainLDMError:
                if verbose:
                    traceback.print_exc()
                raise
            except KeyboardInterrupt:
                resumes = getattr(command, "resumes", False)
                then = "; the same command resumes where it was" if resumes else ""
                typer.echo(f"brainldm: interrupted{then}", err=True)
                raise typer.Exit(INTERRUPTED) from None

    # Typer reads the options from a function's signature, and the help from its docstring.
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    options = [each.replace(annotation=hints[name]) for name, each in signature.parameters.items()]
    options += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("quiet", Quiet), ("verbose", Verbose))
    ]
    call.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    call.__doc__ = command.__doc__
    examples = "\n\n".join(("Examples:", *(f"  {each}" for each in command.examples)))
    app.command(command.__name__.lower(), cls=Verb, epilog=examples)(call)
