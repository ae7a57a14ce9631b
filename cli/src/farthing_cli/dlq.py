"""`farthing dlq`: what services could not process, and its return to where it came from."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from local_stack.furnish import TOPICS_FILE
from rich.table import Table

from farthing_cli.dead_letters import DeadLetters, Letter, LetterBox, boxes
from farthing_cli.environment import need, stack_environment
from farthing_cli.problems import Problem
from farthing_cli.terminal import AsJson, output, print_json

app = typer.Typer(
    add_completion=False, help="Dead letters: events that a service could not process.", no_args_is_help=True
)

TopicsFile = Annotated[Path, typer.Option(help="Which topics there are, and who consumes them.")]


@app.command("list")
def list_(
    topic: Annotated[str, typer.Argument(help="One dead-letter topic; all of them if not given.")] = "",
    topics_file: TopicsFile = TOPICS_FILE,
    as_json: AsJson = False,
) -> None:
    """Show every dead letter: what it is, why it is here, since when, and whether it was replayed."""
    wanted = [_box(topic, topics_file)] if topic else boxes(topics_file)
    found = asyncio.run(_read(_bootstrap(), wanted))
    if as_json:
        print_json({"topics": [_document(box, letters) for box, letters in found]})
        return
    counts = Table("dead letters of", "topic", "letters", "not replayed", box=None)
    for box, letters in found:
        counts.add_row(box.service, box.name, str(len(letters)), str(len(_waiting(letters))))
    output().print(counts)
    for box, letters in found:
        if letters:
            output().print(_table(box, letters))


@app.command()
def replay(
    topic: Annotated[str, typer.Argument(help="The dead-letter topic, such as farthing.orders.v1.dlq.documents.")],
    *,
    offset: Annotated[int | None, typer.Option(help="Replay the letter with this offset.", min=0)] = None,
    partition: Annotated[int, typer.Option(help="Of which partition.", min=0)] = 0,
    all_: Annotated[bool, typer.Option("--all", help="Replay every letter that was not replayed yet.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Those that were replayed before, too.")] = False,
    topics_file: TopicsFile = TOPICS_FILE,
    as_json: AsJson = False,
) -> None:
    """Publish dead letters to their topic again, unchanged. A second replay does nothing, without --again."""
    if (offset is None) == (not all_):
        raise Problem("say which: --offset N for one letter, or --all", 2)
    box = _box(topic, topics_file)
    chosen, skipped = asyncio.run(_replay(_bootstrap(), box, None if all_ else (partition, offset or 0), again))
    if as_json:
        print_json(
            {
                "topic": box.name,
                "origin_topic": box.origin,
                "replayed": [letter.document(box.message) for letter in chosen],
                "replayed_before": skipped,
            }
        )
        return
    output().print(f"{len(chosen)} of {len(chosen) + skipped} dead letters replayed to {box.origin}")
    if skipped:
        output().print(f"{skipped} had been replayed before; --again repeats them")


def _bootstrap() -> str:
    return need(stack_environment(), "KAFKA_BOOTSTRAP", "where Kafka listens")


def _box(name: str, topics_file: Path) -> LetterBox:
    known = {box.name: box for box in boxes(topics_file)}
    if name not in known:
        raise Problem(f"there is no dead-letter topic '{name}'; there are:\n  " + "\n  ".join(known), 2)
    return known[name]


async def _read(bootstrap: str, wanted: list[LetterBox]) -> list[tuple[LetterBox, list[Letter]]]:
    async with DeadLetters(bootstrap) as letters:
        return [(box, await letters.read(box)) for box in wanted]


async def _replay(
    bootstrap: str, box: LetterBox, place: tuple[int, int] | None, again: bool
) -> tuple[list[Letter], int]:
    """The letters replayed, and how many of those that were meant had been replayed before."""
    async with DeadLetters(bootstrap) as letters:
        meant = [letter for letter in await letters.read(box) if place in (None, (letter.partition, letter.offset))]
        if place is not None and not meant:
            raise Problem(f"{box.name} has no letter with offset {place[1]} in partition {place[0]}")
        chosen = meant if again else _waiting(meant)
        await letters.replay(box, chosen)
        return chosen, len(meant) - len(chosen)


def _waiting(letters: list[Letter]) -> list[Letter]:
    return [letter for letter in letters if not letter.replayed]


def _document(box: LetterBox, letters: list[Letter]) -> dict[str, Any]:
    return {
        "topic": box.name,
        "origin_topic": box.origin,
        "service": box.service,
        "count": len(letters),
        "not_replayed": len(_waiting(letters)),
        "letters": [letter.document(box.message) for letter in letters],
    }


def _table(box: LetterBox, letters: list[Letter]) -> Table:
    table = Table("offset", "buried at", "event", "message", "error", "origin", "replayed", title=box.name, box=None)
    for letter in letters:
        document = letter.document(box.message)
        message = document["message"]
        kind = (
            next(iter(message), "(empty)") if message is not None else f"({document['size_bytes']} bytes, unreadable)"
        )
        table.add_row(
            f"{letter.partition}/{letter.offset}",
            document["buried_at"][:19],
            document["event_id"] or "-",
            kind,
            document["error"] or "-",
            document["origin"] or "-",
            "yes" if letter.replayed else "no",
        )
    return table
