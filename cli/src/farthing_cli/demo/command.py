"""`farthing demo`: brings the stack up, tells the story, proves it, and keeps it running."""

import asyncio
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from local_stack import Stack, StackError
from local_stack.layout import PARTS
from local_stack.stack import DEFAULT_FOLDER, STOP_ORDER
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.markup import escape
from servicekit.clock import SYSTEM_CLOCK

from farthing_cli.calls import Refused, problem_of
from farthing_cli.demo.printing import WIDTH, Printer
from farthing_cli.demo.story import Outcome, play
from farthing_cli.problems import Problem
from farthing_cli.terminal import AsJson, notes, print_json
from farthing_cli.verify.command import proved
from farthing_cli.verify.proof import Report

HEAL_EVERY_S = 5.0
REST_S = 60.0
# rich's own picture loads its typeface from elsewhere; the reader's will do.
SVG_FORMAT = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono'"
)


app = typer.Typer(add_completion=False)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Leave after the story; 1 if anything did not hold.")] = False,
    as_json: AsJson = False,
    picture: Annotated[Path | None, typer.Option(hidden=True, help="Write what is shown as SVG.")] = None,
    folder: Annotated[Path, typer.Option(hidden=True)] = DEFAULT_FOLDER,
) -> None:
    """Watch a purchase go through the whole house; then it keeps running until Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(width=WIDTH, highlight=False, stderr=as_json, record=picture is not None)
    printer = Printer(console)
    stack = Stack(folder)
    ran_before = {part for part in PARTS if stack.pid(part)}
    try:
        printer.title()
        environment = _bring_up(stack, printer)
        outcome, report = _tell(environment, printer, picture)
        if as_json:
            print_json(_as_dict(outcome, report))
        if not once:
            printer.addresses(environment)
            _keep_running(stack, printer)
        if not report.ok:
            raise typer.Exit(1)
    except KeyboardInterrupt:
        printer.note("stopping ...")
    except StackError as error:
        raise Problem(str(error)) from error
    finally:
        _stop(stack, ran_before)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _bring_up(stack: Stack, printer: Printer) -> dict[str, str]:
    printer.heading("The house: five services, PostgreSQL, Kafka, S3, SMTP")
    started_s = time.monotonic()
    with notes().status("starting ..."):
        stack.up(progress=printer.note)
    printer.done("everything runs", time.monotonic() - started_s)
    return stack.env()


def _tell(environment: Mapping[str, str], printer: Printer, picture: Path | None) -> tuple[Outcome, Report]:
    run = f"run-{SYSTEM_CLOCK.now():%Y%m%d%H%M%S%f}"
    try:
        outcome = asyncio.run(play(environment, run, printer))
    except Refused as refused:
        raise problem_of(refused, "the demo") from None
    printer.heading("Proof: every invariant, read from databases, topics, archive and mail")
    report = proved(environment, REST_S, printer.console)
    if picture is not None:
        printer.console.save_svg(str(picture), title="make demo", clear=False, code_format=SVG_FORMAT)
    return outcome, report


def _keep_running(stack: Stack, printer: Printer) -> None:
    while True:
        time.sleep(HEAL_EVERY_S)
        try:
            stack.up()
        except StackError as error:
            printer.console.print(f"  [yellow]healing: {escape(str(error).splitlines()[0])}[/]")


def _stop(stack: Stack, ran_before: set[str]) -> None:
    """Stops what the demo started, and nothing else."""
    if not ran_before:
        stack.down()
        return
    for part in STOP_ORDER:
        if part not in ran_before:
            stack.stop(part)


def _as_dict(outcome: Outcome, report: Report) -> dict[str, Any]:
    refusal = outcome.refusal
    return {
        "ok": report.ok,
        "orders": outcome.orders + len(outcome.purchases),
        "top_ups": outcome.top_ups,
        "showcase": [
            {
                "order": purchase.order.number,
                "transaction_id": purchase.transaction.id,
                "postings": len(purchase.transaction.postings),
                "receipt": purchase.receipt.number,
                "sha256": purchase.receipt.sha256.hex(),
                "object_version": purchase.receipt.object_version,
                "mailed_to": list(purchase.receipt.delivery.recipients),
            }
            for purchase in outcome.purchases
        ],
        "afterwards": asdict(outcome.afterwards) if outcome.afterwards else None,
        "refusal": {"reason": refusal.reason, "message": refusal.message} if refusal else None,
        "verify": report.as_dict(),
    }
