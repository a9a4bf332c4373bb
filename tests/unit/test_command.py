"""What every command has: help with examples, short options, a voice, and one value an option."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pytest
import typer

import brainldm.cli.app
from brainldm.cli import voice
from brainldm.cli.command import add
from brainldm.cli.saved import saved
from brainldm.errors import UsageError
from tests.conftest import Cli

APP = typer.main.get_command(brainldm.cli.app.app)


def verbs(group: Any = APP, name: str = "brainldm") -> dict[str, Any]:
    """Every command, by all that is typed to call it."""
    found: dict[str, Any] = {}
    for word, command in group.commands.items():
        under = f"{name} {word}"
        found |= verbs(command, under) if hasattr(command, "commands") else {under: command}
    return found


@pytest.mark.parametrize("name", verbs())
def test_every_help_has_examples_of_what_there_is(name: str) -> None:
    verb = verbs()[name]
    known = {option for each in verb.params for option in each.opts}
    title, *examples = [line.strip() for line in verb.epilog.split("\n\n")]
    assert title == "Examples:"
    assert examples
    for example in examples:
        assert example.startswith(name)
        words = shlex.split(example)[len(name.split()) :]
        assert {word for word in words if word.startswith("-")} <= known
        verb.make_context(name, words, resilient_parsing=False).close()


@pytest.mark.parametrize("name", verbs())
def test_short_options_and_what_options_take(name: str) -> None:
    options = {option: each for each in verbs()[name].params for option in each.opts}
    assert {"-q", "-v"} <= options.keys()
    assert ("--out" in options) == ("-o" in options)
    for option, parameter in options.items():
        if parameter.param_type_name == "option":
            if parameter.is_flag:
                assert parameter.metavar == "", option
            else:
                assert parameter.metavar or parameter.type_descriptor.is_choice, option


def test_two_seeds_or_two_people_are_refused(said: Cli) -> None:
    assert said("generate", "--seed", "3", "--seed", "4") == (
        2,
        "brainldm: --seed was given 2 times: expected it once; for more heads, --number.",
    )
    code, words = said("generate", "--sex", "F", "--sex", "M")
    assert (code, words) == (2, "brainldm: --sex was given 2 times: expected it once.")
    code, words = said("generate", "--model", "none", "--model", "nowhere")
    assert "There is no directory nowhere" in words  # the last one counts, as elsewhere
    code, words = said("generate", "--condition", "a=1", "--condition", "a=2", "--model", "demo")
    assert "given twice" in words  # by what may be repeated


def test_shells_can_complete(said: Cli) -> None:
    code, words = said("--help")
    assert code == 0
    assert "--install-completion" in words


@dataclass(frozen=True, kw_only=True)
class Work:
    """Work."""

    examples: ClassVar[tuple[str, ...]] = ("brainldm work",)
    resumes: ClassVar[bool] = True
    end: Annotated[str, typer.Option(metavar="HOW")] = "well"

    def run(self) -> None:
        """Say how it ends, and end so."""
        typer.echo(f"quiet: {voice.quiet}")
        if self.end == "stopped":
            raise KeyboardInterrupt
        if self.end == "refused":
            raise UsageError("expected another end")


@pytest.fixture
def work(said: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    app = typer.Typer()
    app.callback()(lambda: None)
    add(app, Work)
    monkeypatch.setattr(brainldm.cli.app, "app", app)
    return lambda *words: said("work", *words)


def test_quiet(work: Cli) -> None:
    assert work("-q") == (0, "")
    assert not voice.quiet
    assert work() == (0, "quiet: False")
    assert work("-q", "--end", "refused") == (2, "brainldm: expected another end")


def test_verbose(work: Cli) -> None:
    code, words = work("-v", "--end", "refused")
    assert code == 2
    assert re.search(r"brainldm \S+, Python 3\.\d+\.\d+, torch .*\d+ cores", words)
    assert "Traceback" in words
    assert words.endswith("brainldm: expected another end")


def test_ctrl_c_says_what_resumes(work: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    code, words = work("--end", "stopped")
    assert (code, words) == (
        130,
        "quiet: False brainldm: interrupted; the same command resumes where it was",
    )
    monkeypatch.setattr(Work, "resumes", False)
    assert work("-q", "--end", "stopped") == (130, "brainldm: interrupted")


def test_the_last_line_names_every_file(tmp_path: Any) -> None:
    head = tmp_path / "head.nii.gz"
    head.touch()
    assert saved([head]) == (
        f"Saved head.nii.gz in {tmp_path}; "
        "open head.nii.gz in a viewer such as FSLeyes, or draw it with --preview"
    )
    (tmp_path / "head.json").touch()
    assert saved([head]).startswith(f"Saved head (.nii.gz and .json) in {tmp_path}; open")
