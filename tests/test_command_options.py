"""One spelling and one meaning of every option, over all commands of `fastast` and `python -m bench`."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import bench.cli
import fastast.cli
import fastast.commands.learn_merging
import fastast.commands.tune
from fastast.dtem.question import MergingQuestion
from fastast.tuning.question import TuningQuestion

APPS = {"fastast": fastast.cli.app, "bench": bench.cli.app}


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command with its full name, commands of commands too."""
    for child, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {child}")
    if not hasattr(command, "commands"):
        yield name, command


def options() -> Iterator[tuple[str, Any]]:
    for name, app in APPS.items():
        for command, found in commands(get_command(app), name):
            for parameter in found.params:
                if parameter.param_type_name == "option":
                    yield command, parameter


def test_a_short_form_means_one_option_everywhere() -> None:
    longs = defaultdict(set)
    for _, option in options():
        for short in (name for name in option.opts if not name.startswith("--")):
            longs[short] |= {name for name in option.opts if name.startswith("--")}
    assert longs["-s"] == {"--set"}
    assert longs["-o"] == {"--out"}
    assert {short: names for short, names in longs.items() if len(names) > 1} == {}


def test_an_option_has_its_short_form_and_its_kind_in_every_command_that_has_it() -> None:
    kinds = defaultdict(set)
    for _, option in options():
        kinds[max(option.opts, key=len)].add((frozenset(option.opts), option.metavar, option.is_flag))
    assert len(kinds) > 30
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    ("command", "question"),
    [(fastast.commands.learn_merging.learn_merging, MergingQuestion), (fastast.commands.tune.tune, TuningQuestion)],
    ids=["learn-merging", "tune"],
)
def test_what_is_not_given_is_what_the_question_has(command: Any, question: Any) -> None:
    """Defaults are written down twice, as commands are asked for help without PyTorch."""
    own = {field.name: field.default for field in dataclasses.fields(question)}
    said = {name: one.default for name, one in inspect.signature(command).parameters.items()}
    shared = {name: value for name, value in said.items() if name in own and isinstance(value, int | float | str)}
    assert len(shared) > 6
    assert shared == {name: own[name] for name in shared}


def test_help_prints_all_that_is_written() -> None:
    """Rich takes a word in brackets for markup, and leaves it out."""
    lost = []
    for name, app in APPS.items():
        for command, found in commands(get_command(app), name):
            written = " ".join([found.help or "", *(getattr(one, "help", None) or "" for one in found.params)])
            shown = CliRunner().invoke(app, [*command.split()[1:], "--help"], env={"COLUMNS": "250"}).output
            lost += [(command, word) for word in re.findall(r"\[[^\]\s]+\]", written) if word not in shown]
    assert lost == []


def test_what_may_be_repeated_says_so() -> None:
    silent = [
        (command, option.opts) for command, option in options() if option.multiple and "repeatable" not in option.help
    ]
    assert silent == []


@pytest.mark.parametrize("command", ["predict", "info", "evaluate"])
def test_reductions_are_asked_for_with_the_same_options(command: str) -> None:
    found = dict(commands(get_command(APPS["fastast"]), "fastast"))[f"fastast {command}"]
    names = {name for parameter in found.params for name in parameter.opts}
    assert {"--schedule", "--method", "--option", "--excess"} <= names


@pytest.mark.parametrize(("app", "command"), [("fastast", "predict"), ("fastast", "evaluate"), ("bench", "run")])
def test_help_shows_the_options(app: str, command: str) -> None:
    shown = CliRunner().invoke(APPS[app], [command, "--help"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    assert "--set" in shown.output or "--batch-size" in shown.output
