"""The command itself: which sub-commands there are, and that only the one that is asked for is loaded."""

import subprocess
import sys

import pytest
from farthing_cli.main import COMMANDS, app
from typer.testing import CliRunner

LOADED = """
import sys
from farthing_cli.main import app
try:
    app(["token", "--help"])
finally:
    print("loaded", *(name for name in sys.modules if name in {"sqlalchemy", "openpyxl", "aiokafka", "local_stack"}))
    print("commands", *(name for name in sys.modules if name in set(sys.argv[1:])))
"""


def test_help_names_every_command() -> None:
    """Given the command, when it is asked for help, then every sub-command is there with what it does."""
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    lines = [line.strip(" │").split(maxsplit=1) for line in said.splitlines()]
    described = {line[0]: line[1] for line in lines if len(line) == 2 and line[0] in COMMANDS}
    assert list(described) == list(COMMANDS)
    assert described["orders"] == "Orders: list and export them."


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    """Given a sub-command, when it is asked for help, then it is called by its name."""
    told = CliRunner().invoke(app, [name, "--help"])
    assert told.exit_code == 0
    assert f" {name} [OPTIONS]" in told.output
    assert "--install-completion" not in told.output


def test_a_slip_is_set_right() -> None:
    """Given a name that is nearly one, when it is asked for, then the right one is named."""
    told = CliRunner().invoke(app, ["ordrs"])
    assert told.exit_code == 2
    assert "Did you mean 'orders'?" in told.output


def test_only_what_is_asked_for_is_loaded() -> None:
    """Given a sub-command that needs little, when it runs, then neither the others nor their libraries are loaded."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *COMMANDS.values()], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-2:] == ["loaded", "commands farthing_cli.token"]
