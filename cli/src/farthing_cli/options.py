"""Options that lists and exports share, what they say as protos take it, and how money is shown."""

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from farthing.export.v1.export_pb2 import EXPORT_FORMAT_CSV, EXPORT_FORMAT_XLSX
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from money import format_exact
from money.messages import money_from_message

from farthing_cli.problems import Problem

FromOption = Annotated[
    str,
    typer.Option("--from", help="From this instant on: 2026-11-25, or 2026-11-25T12:00 (UTC, or with its zone)."),
]
ToOption = Annotated[str, typer.Option("--to", help="Before this instant.")]
NumberOption = Annotated[str, typer.Option("--number", help="An order's number, or its beginning.")]
PhoneOption = Annotated[str, typer.Option("--phone", help="Of this cloud phone, by its id.")]
SortOption = Annotated[str, typer.Option("--sort", help="newest, oldest, amount-descending or amount-ascending.")]

_FORMATS = {"csv": EXPORT_FORMAT_CSV, "xlsx": EXPORT_FORMAT_XLSX}


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list."""

    limit: Annotated[int, typer.Option(help="So many at most.", min=1, max=1000)] = 50
    page: Annotated[str, typer.Option(help="The page with this token, from the page before.")] = ""
    totals: Annotated[bool, typer.Option("--totals", help="Also count and sum all that the filter leaves.")] = False

    def asked(self) -> dict[str, Any]:
        """The fields of a request for a list."""
        return {"page_size": self.limit, "page_token": self.page, "with_totals": self.totals}


@dataclass(frozen=True, slots=True)
class Target:
    """Where an export goes."""

    format_: Annotated[str, typer.Option("--format", help="csv or xlsx; else what --out ends with, else csv.")] = ""
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write, .csv or .xlsx; one that is there is replaced. "
            "Else one here with the name that the service gives."
        ),
    ] = None

    @property
    def format(self) -> Any:
        """What --format says, else the ending of --out; CSV where there is neither. Problem where there is no such."""
        ending = self.out.suffix.removeprefix(".").lower() if self.out is not None else ""
        name = self.format_.lower() or ending or "csv"
        if name in _FORMATS:
            return _FORMATS[name]
        if self.format_:
            raise Problem(f"--format {self.format_}: take csv or xlsx", 2)
        raise Problem(f"--out {self.out}: it ends with neither .csv nor .xlsx; take one of them, or say --format", 2)


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Lets a command take options in groups: each field of a dataclass among its parameters is an option of its own."""
    own = inspect.signature(command).parameters
    groups: dict[str, Any] = {name: each.annotation for name, each in own.items() if is_dataclass(each.annotation)}
    options = {
        option.name: option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, each in own.items()
        for option in (inspect.signature(groups[name]).parameters.values() if name in groups else [each])
    }

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    run.__signature__ = inspect.Signature(list(options.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {name: option.annotation for name, option in options.items()}
    return run


def instant(text: str, option: str) -> Timestamp | None:
    """The instant that `text` names, in UTC where it names no zone; None for an empty one. Problem where it is none."""
    if not text:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise Problem(f"{option} {text}: that is no time; write 2026-11-25 or 2026-11-25T12:00:00Z", 2) from None
    stamp = Timestamp()
    stamp.FromDatetime((value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC))
    return stamp


def choice(enum: Any, prefix: str, text: str, option: str) -> Any:
    """The number of the enum's value that is called `text` (`pending-payment`); 0 for an empty one. Problem if none."""
    if not text:
        return 0
    values = {shown(name, prefix): number for name, number in enum.items() if number}
    number = values.get(text.lower().replace("_", "-"))
    if number is None:
        raise Problem(f"{option} {text}: there is no such; take one of {', '.join(values)}", 2)
    return number


def choices(enum: Any, prefix: str, texts: Iterable[str] | None, option: str) -> list[Any]:
    """As `choice`, of each."""
    return [choice(enum, prefix, text, option) for text in texts or ()]


def shown(name: str, prefix: str) -> str:
    """An enum's value as options spell it: STATE_PENDING_PAYMENT is `pending-payment`."""
    return name.removeprefix(prefix).lower().replace("_", "-")


def money_text(money: Money) -> str:
    """Every digit, with the currency; empty for none."""
    if not money.currency_code:
        return ""
    return f"{format_exact(money_from_message(money).micros)} {money.currency_code}"


def time_text(stamp: Timestamp) -> str:
    """To the second, in UTC; empty for none."""
    return f"{stamp.ToDatetime():%Y-%m-%d %H:%M:%S}" if stamp.seconds or stamp.nanos else ""
