"""Given the files of the repository, then whoever knows one service knows all, and no file tells of one machine."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SERVICES = ("orders", "wallet", "subscriptions", "documents", "usage")
SOURCES = sorted(
    path
    for folder in ("services", "libs", "cli", "deploy")
    for path in (REPOSITORY / folder).rglob("src/**/*.py")
    if "_pb2" not in path.name and "build" not in path.parts
)
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}


def tracked() -> list[Path]:
    """Every file under version control, this one excepted: it has to say what others must not."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    paths = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and path != Path(__file__)]


def texts() -> dict[str, str]:
    """Those of them that are text, by their place in the repository."""
    found = {}
    for path in tracked():
        try:
            found[str(path.relative_to(REPOSITORY))] = path.read_text()
        except UnicodeDecodeError:
            continue
    return found


# What a file of this repository must not name, with the reason.
FORBIDDEN_TEXTS = {
    "a path of one machine": re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)(?:/|\b)(?!-)"),
    "a registry's host": re.compile(
        r"(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|repo1?\.maven\.|maven\.apache\.org/maven2|"
        r"proxy\.golang\.org|deb\.debian\.org|ghcr\.io|quay\.io|artifactory|nexus\.)"
    ),
    "how it was written": re.compile(
        r"\b(?:claude|anthropic|chatgpt|openai|copilot|gemini|llm|ai[- ]generated)\b", re.IGNORECASE
    ),
    "unfinished work": re.compile(r"\b(?:TODO|FIXME)\b"),
}


def test_nothing_that_runs_for_ever_loses_a_cancellation() -> None:
    """Given the sources of services and libraries, When they are read, Then none waits with asyncio.wait_for: in Python
    3.11 it swallows a cancellation that comes together with the result, and a part told to stop goes on.
    """
    found = [
        str(path.relative_to(REPOSITORY))
        for path in SOURCES
        if path.relative_to(REPOSITORY).parts[0] in ("services", "libs") and "asyncio.wait_for(" in path.read_text()
    ]
    assert found == []


@pytest.mark.parametrize("what", FORBIDDEN_TEXTS)
def test_no_file_names(what: str) -> None:
    """Given every text file under version control, When it is read, Then it does not name what only one machine or one
    person has."""
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts().items()
        if not name.startswith("third_party/")
        for number, line in enumerate(text.splitlines(), 1)
        if FORBIDDEN_TEXTS[what].search(line)
    ]
    assert found == []


@pytest.mark.parametrize("service", SERVICES)
def test_the_services_have_one_layout(service: str) -> None:
    """Given a service, When its folder is read, Then the same files are at the same places as in every other."""
    folder = REPOSITORY / "services" / service
    places = [
        "README.md",
        "pyproject.toml",
        f"src/{service}/__init__.py",
        f"src/{service}/py.typed",
        f"src/{service}/main.py",
        "tests",
    ]
    assert [place for place in places if not (folder / place).exists()] == []
    assert list((folder / "migrations").glob("0001_*.py"))
    assert list((folder / "tests").glob("test_*.py"))
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {service: f"{service}.main:main"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_readme_says_what_a_service_does(service: str) -> None:
    """Given a service's README, When it is read, Then it says what it owns, offers, hears, and when to worry."""
    text = (REPOSITORY / "services" / service / "README.md").read_text().lower()

    missing = [word for word in ("owns", "rpcs", "publishes", "consumes", "states", "alarms") if word not in text]
    assert missing == []


def layers(service: str) -> set[str]:
    return {path.stem for path in (REPOSITORY / "services" / service / "src" / service).iterdir()} & {
        "domain", "convert", "store", "clients", "events", "commands", "rpc", "consumers", "jobs",
    }  # fmt: skip


def test_a_service_with_a_layer_has_those_below_it() -> None:
    """Given the services that serve RPCs, When their modules are read, Then each has domain, convert, store and
    commands, by these names."""
    serving = {service for service in SERVICES if "rpc" in layers(service)}

    assert serving >= {"orders", "wallet", "documents"}
    for service in serving:
        assert {"domain", "convert", "store", "commands", "rpc"} <= layers(service), service


@pytest.mark.parametrize("service", ["subscriptions", "usage"])
def test_a_service_that_does_nothing_yet_is_small(service: str) -> None:
    """Given a service without a domain, When its code and migrations are counted, Then they take under 150 lines: the
    rest is the kit's."""
    folder = REPOSITORY / "services" / service
    files = [*(folder / "src").rglob("*.py"), *(folder / "migrations").glob("*.py"), folder / "pyproject.toml"]

    assert sum(len(path.read_text().splitlines()) for path in files) < 150


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_modules_and_functions_stay_readable(path: Path) -> None:
    """Given a module of ours, When it is measured, Then it fits the head: a docstring, 500 lines, functions of 70."""
    text = path.read_text()
    tree = ast.parse(text)

    assert len(text.splitlines()) <= MODULE_LINES_MAX
    assert ast.get_docstring(tree) or not text.strip()
    assert path.stem not in FORBIDDEN_NAMES
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_the_clock_is_injected() -> None:
    """Given services and libraries, When they are read, Then only servicekit.clock asks the machine for the date."""
    asking = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"
        for path in SOURCES
        if path.relative_to(REPOSITORY).parts[0] in {"services", "libs"} and path.name != "clock.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"now", "utcnow", "today"}
        and ast.unparse(node.func.value).rpartition(".")[2] in {"datetime", "date"}
    ]
    assert asking == []


def test_no_test_is_switched_off() -> None:
    """Given the tests, When they are read, Then none is skipped or expected to fail."""
    off = [
        f"{name}:{number}"
        for name, text in texts().items()
        if name.endswith(".py") and "/tests/" in f"/{name}"
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(r"pytest\.(?:mark\.)?(?:skip|skipif|xfail|importorskip)\b|unittest\.skip", line)
    ]
    assert off == []


def test_every_test_says_what_it_is_about() -> None:
    """Given the tests, When they are read, Then each says in its first words what is given."""
    silent = []
    for name, text in texts().items():
        if not (name.endswith(".py") and "/tests/" in f"/{name}"):
            continue
        lines = text.splitlines()
        silent += [
            f"{name}:{node.lineno} {node.name}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
            # A comment above it or within it says it as well as a docstring.
            and "given" not in " ".join(lines[max(0, node.lineno - 4) : node.lineno + 12]).lower()
        ]
    assert silent == []
