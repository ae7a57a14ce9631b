"""Given the tour in docs, when every line of it is run as a reader would, then each works, and pairs agree."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from farthing_cli.calls import Services
from farthing_cli.demo.world import THISTLE

from .conftest import able_to_buy

TOUR = Path(__file__).parents[2] / "docs" / "tour.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TOUR.read_text(), re.MULTILINE | re.DOTALL)
# The reader's own stack and checkout; the test has others.
OURS = ('export PATH="$PWD/.venv/bin:$PATH"', 'eval "$(farthing stack env)"')
LINES = [line for block in BLOCKS[1:] for line in block.splitlines()]

Shell = Callable[[str], str]


@pytest.fixture(scope="module")
def shell(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Runs a line of the tour in bash, after its first block; returns what it prints."""
    asyncio.run(_buy_something(environment))
    folder = tmp_path_factory.mktemp("tour")
    programs = folder / "bin"
    programs.mkdir()
    if not shutil.which("grpcurl"):
        program = programs / "grpcurl"
        program.write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {Path(__file__).with_name("grpcurl.py")} "$@"\n'
        )
        program.chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    def bash(script: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env={**os.environ, **environment, "PATH": path},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{script.splitlines()[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    setup = BLOCKS[0].splitlines()
    assert tuple(setup[:2]) == OURS
    names = [name for line in setup if (name := line.partition("=")[0]).isupper()]
    # Found once, then said to each line.
    found = bash("\n".join([*setup[2:], f"declare -p {' '.join(names)}", "declare -f"]))
    return lambda line: bash(f"{found}\n{line}")


async def _buy_something(environment: dict[str, str]) -> None:
    async with Services(environment) as services:
        people = await able_to_buy(environment, services, "tour")
        for code in ("team-starter", "datacenter-de-30d", "residential-eu-30d"):
            await people.buy(THISTLE, code, 1)


def _pairs() -> list[tuple[str, str]]:
    """Each call that is followed by the command that lists the same."""
    return [
        (call, command)
        for call, command in pairwise(LINES)
        if re.match(r"(TOKEN=\S+ )?(orders ListOrders|wallet ListEntries) ", call)
    ]


def _rows(document: dict[str, Any]) -> list[Any]:
    return [each.get("number") or each["sequence"] for each in document.get("orders") or document.get("entries") or []]


@pytest.mark.parametrize(("call", "command"), _pairs(), ids=lambda line: line[:60])
def test_a_call_and_its_command_list_the_same(call: str, command: str, shell: Shell) -> None:
    """Given a world with orders, When a filter's call and its command are run, Then both list the same rows."""
    assert re.match("farthing (orders|wallet) list ", command), f"not a command that lists: {command}"

    called, listed = json.loads(shell(call)), json.loads(shell(f"{command} --json"))

    assert _rows(called) == _rows(listed)
    # Nobody has a cloud phone yet.
    assert bool(_rows(listed)) is ("--phone" not in command)


@pytest.mark.parametrize(
    "line", [line for line in LINES if not any(line in pair for pair in _pairs())], ids=lambda line: line[:60]
)
def test_every_other_line_works(line: str, shell: Shell) -> None:
    """Given a world with orders, When a line of the tour is run, Then it works and prints something."""
    assert shell(line).strip()


def test_a_list_is_shown(shell: Shell) -> None:
    """Given orders of a customer, When listed as in the tour, Then the table names them."""
    listed = json.loads(shell("farthing orders list --org thistle.example --json"))
    table = shell("COLUMNS=250 farthing orders list --org thistle.example")
    assert re.findall(r"FA-\S+", table) == _rows(listed)
    assert len(_rows(listed)) >= 3


def test_an_export_is_the_list(shell: Shell) -> None:
    """Given orders of a customer, When exported to Excel, Then another program reads those very orders."""
    listed = json.loads(shell("farthing orders list --org thistle.example --sort oldest --json"))
    written = json.loads(
        shell('farthing orders export --org thistle.example --sort oldest --out "$PWD/all.xlsx" --json')
    )

    sheet = openpyxl.load_workbook(written["file"])["Orders"]
    numbers = [value for row in sheet.iter_rows(values_only=True) for value in row if str(value).startswith("FA-")]
    assert numbers == _rows(listed)
    assert written["rows"] == len(numbers) >= 3
