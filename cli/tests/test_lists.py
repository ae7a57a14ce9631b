"""`farthing orders` and `farthing wallet` against pretended services: what they ask for, and what they leave behind."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from farthing.export.v1.export_pb2 import EXPORT_FORMAT_CSV, EXPORT_FORMAT_XLSX, ExportChunk, ExportEnd, ExportInfo
from farthing.orders.v1 import orders_pb2, orders_pb2_grpc
from farthing.orders.v1.catalogue_pb2 import PRODUCT_TYPE_CLOUD_PHONE, PRODUCT_TYPE_PROXY
from farthing.wallet.v1 import organizations_pb2, organizations_pb2_grpc, wallets_pb2, wallets_pb2_grpc
from google.type.money_pb2 import Money

FARTHING = str(Path(sys.executable).with_name("farthing"))
DATA = [b"Number,Total\r\n", b"FA-1,12.50\r\n"]
WHOLE = b"".join(DATA)
IDS = {"acme.example": "org-acme", "shop.example": "org-shop"}


def whole(chunks: list[bytes], **changed: Any) -> Iterator[ExportChunk]:
    """What an export sends; `changed` fields of its end are lies."""
    data = b"".join(chunks)
    yield ExportChunk(info=ExportInfo(file_name="orders-acme.example.csv", media_type="text/csv"))
    for number, piece in enumerate(chunks):
        yield ExportChunk(data=piece, rows=number)
    yield ExportChunk(
        end=ExportEnd(**{"rows": 1, "size_bytes": len(data), "sha256": hashlib.sha256(data).digest(), **changed})
    )


class Pretended(
    orders_pb2_grpc.OrderServiceServicer,
    wallets_pb2_grpc.WalletServiceServicer,
    organizations_pb2_grpc.OrganizationServiceServicer,
):
    """Answers, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.export: Callable[[Any], Iterator[ExportChunk]] = lambda context: whole(DATA)
        self.begun = threading.Event()

    def GetOrganization(self, request: Any, context: Any) -> Any:
        if request.id not in IDS:
            context.abort(grpc.StatusCode.NOT_FOUND, "none")
        return organizations_pb2.Organization(id=IDS[request.id], domain=request.id)

    def ListWallets(self, request: Any, context: Any) -> Any:
        wallets = [wallets_pb2.Wallet(id=f"wallet-{each}", currency=each) for each in ("EUR", "USD")]
        return wallets_pb2.ListWalletsResponse(wallets=wallets)

    def ListOrders(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        order = orders_pb2.Order(
            number="FA-1",
            type=PRODUCT_TYPE_PROXY,
            state=orders_pb2.Order.STATE_COMPLETED,
            items=[orders_pb2.OrderItem(product_name="Proxy [red]\x1b[2J", quantity=2)],
            total=Money(currency_code="EUR", units=12, nanos=500_000_000),
        )
        totals = orders_pb2.OrderTotals(count=1, sums=[orders_pb2.OrderSum(total=order.total)])
        return orders_pb2.ListOrdersResponse(orders=[order], next_page_token="next-1", totals=totals)

    def ExportOrders(self, request: Any, context: Any) -> Iterator[ExportChunk]:
        self.asked.append(request)
        yield from self.export(context)

    def ListEntries(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return wallets_pb2.ListEntriesResponse(entries=[line(1)], totals=wallets_pb2.EntryTotals(count=1, more=True))

    def ExportEntries(self, request: Any, context: Any) -> Iterator[ExportChunk]:
        self.asked.append(request)
        yield from self.export(context)

    def GetStatement(self, request: Any, context: Any) -> Any:
        self.asked.append(wallets_pb2.GetStatementRequest.FromString(request.SerializeToString()))
        second = bool(request.page_token)
        return wallets_pb2.Statement(
            wallet_id=request.wallet_id,
            opening=Money(currency_code="EUR", units=1),
            closing=Money(currency_code="EUR", units=3),
            line_count=2,
            lines=[line(2 if second else 1)],
            next_page_token="" if second else "second",
        )


def line(sequence: int) -> Any:
    return wallets_pb2.Entry(
        sequence=sequence,
        type=wallets_pb2.ENTRY_TYPE_RECHARGE,
        item="Top-up",
        amount=Money(currency_code="EUR", units=1),
        balance_after=Money(currency_code="EUR", units=1 + sequence),
    )


@pytest.fixture
def services() -> Iterator[Pretended]:
    pretended = Pretended()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    orders_pb2_grpc.add_OrderServiceServicer_to_server(pretended, server)
    wallets_pb2_grpc.add_WalletServiceServicer_to_server(pretended, server)
    organizations_pb2_grpc.add_OrganizationServiceServicer_to_server(pretended, server)
    pretended.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"  # type: ignore[attr-defined]
    server.start()
    yield pretended
    server.stop(None).wait()


@pytest.fixture
def command(services: Pretended, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts the command in an empty folder, with a token."""
    folder = tmp_path / "here"
    folder.mkdir()
    address = services.address  # type: ignore[attr-defined]
    environment = {
        **os.environ,
        **{f"{each}_GRPC": address for each in ("WALLET", "ORDERS", "DOCUMENTS")},
        "FARTHING_TOKEN": "a-token",
        "COLUMNS": "200",
    }

    def start(*arguments: str, stdout: Any = subprocess.PIPE) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [FARTHING, *arguments],
            env=environment,
            cwd=folder,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    start.folder = folder  # type: ignore[attr-defined]
    return start


@pytest.fixture
def run(command: Any) -> Callable[..., tuple[int, str, str]]:
    """Exit code, stdout and stderr of the command."""

    def done(*arguments: str) -> tuple[int, str, str]:
        process = command(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    return done


ORDER_OPTIONS = (
    *("--from", "2026-11-01", "--to", "2026-12-01T01:00:00+01:00", "--type", "proxy", "--type", "CLOUD_PHONE"),
    *("--status", "completed", "--status", "pending-payment", "--product", "proxy", "--product", "代理"),
    *("--number", "FA-26", "--phone", "cp-7", "--search", "red", "--payment", "bank-transfer"),
    *("--buyer", "acme.example", "--seller", "shop.example", "--sort", "amount-ascending"),
)


def check_order_filter(asked: Any) -> None:
    chosen = asked.filter
    assert (chosen.created_from.ToJsonString(), chosen.created_to.ToJsonString()) == (
        "2026-11-01T00:00:00Z",
        "2026-12-01T00:00:00Z",
    )
    assert list(chosen.types) == [PRODUCT_TYPE_PROXY, PRODUCT_TYPE_CLOUD_PHONE]
    assert list(chosen.states) == [orders_pb2.Order.STATE_COMPLETED, orders_pb2.Order.STATE_PENDING_PAYMENT]
    assert list(chosen.product_names) == ["proxy", "代理"]
    assert (chosen.order_number, chosen.cloud_phone_id, chosen.search) == ("FA-26", "cp-7", "red")
    assert list(chosen.payment_methods) == [orders_pb2.PAYMENT_METHOD_BANK_TRANSFER]
    assert (chosen.organization_id, chosen.seller_id) == ("org-acme", "org-shop")
    assert asked.order == orders_pb2.ORDER_ORDER_AMOUNT_ASCENDING


def test_orders_are_listed_by_every_filter(run: Any, services: Pretended) -> None:
    """Given every filter. When orders are listed. Then the service is asked for just that, and the page is shown."""
    code, out, err = run("orders", "list", *ORDER_OPTIONS, "--limit", "7", "--page", "p", "--totals")

    assert code == 0, err
    [asked] = services.asked
    check_order_filter(asked)
    assert (asked.page_size, asked.page_token, asked.with_totals) == (7, "p", True)
    assert all(
        part in out for part in ("FA-1", "Proxy [red]�[2J", "12.5 EUR", "completed", "1 orders", "--page next-1")
    )


def test_a_list_as_json(run: Any) -> None:
    """Given orders. When listed with --json. Then it is the service's answer, in one document."""
    code, out, _ = run("orders", "list", "--json")
    assert (code, json.loads(out)["orders"][0]["number"]) == (0, "FA-1")


def test_an_export_is_the_filtered_view(run: Any, services: Pretended, command: Any) -> None:
    """Given every filter. When orders are exported. Then the file is what was sent, under the name it was sent with."""
    code, out, err = run("orders", "export", *ORDER_OPTIONS, "--json")

    assert code == 0, err
    check_order_filter(services.asked[-1])
    assert services.asked[-1].format == EXPORT_FORMAT_CSV
    assert json.loads(out) == {
        "file": "orders-acme.example.csv",
        "rows": 1,
        "size_bytes": len(WHOLE),
        "sha256": hashlib.sha256(WHOLE).hexdigest(),
    }
    assert {each.name: each.read_bytes() for each in command.folder.iterdir()} == {"orders-acme.example.csv": WHOLE}


@pytest.mark.parametrize(
    ("options", "format_"),
    [
        (("--out", "x.xlsx"), EXPORT_FORMAT_XLSX),
        (("--out", "x.csv"), EXPORT_FORMAT_CSV),
        (("--out", "x"), EXPORT_FORMAT_CSV),
        (("--out", "x.bin", "--format", "csv"), EXPORT_FORMAT_CSV),
        (("--out", "x.csv", "--format", "xlsx"), EXPORT_FORMAT_XLSX),
    ],
)
def test_the_format(options: tuple[str, ...], format_: int, run: Any, services: Pretended, command: Any) -> None:
    """Given a file's name or a format. When exported. Then the format is the one said, else the name's, else CSV."""
    code, _, err = run("wallet", "export", "--wallet", "w", *options)

    assert code == 0, err
    assert services.asked[-1].format == format_
    assert [each.name for each in command.folder.iterdir()] == [options[1]]


def broken_off(context: Any) -> Iterator[ExportChunk]:
    yield from list(whole(DATA))[:-1]


def refused(context: Any) -> Iterator[ExportChunk]:
    yield from list(whole(DATA))[:2]
    context.abort(grpc.StatusCode.INTERNAL, "something broke")


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (broken_off, "broke off"),
        (refused, "something broke"),
        (lambda context: whole(DATA, sha256=bytes(32)), "damaged"),
        (lambda context: whole(DATA, size_bytes=1), "damaged"),
        (lambda context: iter(()), "broke off"),
    ],
    ids=["no end", "refused", "other hash", "other size", "nothing"],
)
def test_a_file_is_whole_or_not_there(sent: Any, said: str, run: Any, services: Pretended, command: Any) -> None:
    """Given an export that goes wrong, and an older file. When exported. Then exit code 1, and only the old file."""
    services.export = sent
    (command.folder / "x.csv").write_bytes(b"older")

    code, out, err = run("orders", "export", "--out", "x.csv")

    assert (code, out) == (1, "")
    assert said in err.replace("\n", " ")
    assert {each.name: each.read_bytes() for each in command.folder.iterdir()} == {"x.csv": b"older"}


@pytest.mark.parametrize("what", [("orders",), ("wallet", "--wallet", "w")], ids=["orders", "wallet"])
@pytest.mark.parametrize(
    ("out", "said"),
    [
        (".", "the export cannot be written to .: Is a directory"),
        ("..", "the export cannot be written to ..: Is a directory"),
        ("folder", "the export cannot be written to folder: Is a directory"),
        ("missing/x.csv", "the export cannot be written to missing/x.csv: No such file or directory"),
        ("file/x.csv", "the export cannot be written to file/x.csv: Not a directory"),
    ],
)
def test_a_place_that_takes_no_file(out: str, said: str, what: tuple[str, ...], run: Any, command: Any) -> None:
    """Given a place where no file can be. When exported there. Then the complaint names it as it was asked for."""
    (command.folder / "folder").mkdir()
    (command.folder / "file").write_bytes(b"")

    code, printed, err = run(what[0], "export", *what[1:], "--out", out)

    assert (code, printed, err) == (1, "", f"farthing: {said}\n")
    assert sorted(each.name for each in command.folder.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("options", [(), ("--json",), ("--number-only",)])
def test_a_full_disk_behind_stdout(options: tuple[str, ...], command: Any) -> None:
    """Given an output that takes nothing. When orders are listed. Then it says so in one line, with exit code 1."""
    with Path("/dev/full").open("w") as full:
        process = command("orders", "list", *options, stdout=full)
    _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (1, "farthing: the result cannot be written: No space left on device\n")


def test_help_says_that_a_file_is_replaced(run: Any) -> None:
    """Given a file that may be there. When help is asked for. Then it says what becomes of it."""
    assert "one that is there is replaced" in " ".join(run("orders", "export", "--help")[1].replace("│", " ").split())


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_nothing(sent: int, command: Any, services: Pretended) -> None:
    """Given an export under way. When it is interrupted. Then exit code 1, nothing is left, and the service is told."""
    told = threading.Event()

    def endless(context: Any) -> Iterator[ExportChunk]:
        context.add_callback(told.set)
        yield next(whole(DATA))
        while not told.wait(0.01):
            yield ExportChunk(data=b"x" * 1000, rows=1)
            if list(command.folder.glob(".*.part")):
                services.begun.set()

    services.export = endless
    process = command("orders", "export", "--out", "x.csv")
    assert services.begun.wait(60)

    process.send_signal(sent)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "interrupted" in err
    assert list(command.folder.iterdir()) == []
    assert told.wait(60)


def test_a_name_that_is_a_path_stays_here(run: Any, services: Pretended, command: Any) -> None:
    """Given a service that names a path. When exported. Then the file lies here, under the last part of it."""
    services.export = lambda context: iter(
        [ExportChunk(info=ExportInfo(file_name="../../evil.csv")), *list(whole(DATA))[1:]]
    )
    code, _, err = run("orders", "export")
    assert code == 0, err
    assert [each.name for each in command.folder.iterdir()] == ["evil.csv"]


def test_lines_are_listed_by_every_filter(run: Any, services: Pretended) -> None:
    """Given every filter. When a wallet's lines are listed. Then the service is asked for just that."""
    code, out, err = run(
        *("wallet", "list", "--org", "acme.example", "--currency", "usd", "--from", "2026-11-01", "--to", "2026-12-01"),
        *("--type", "recharge", "--type", "system", "--product", "top", "--number", "FA", "--phone", "cp-7"),
        *("--search", "x", "--sort", "oldest", "--limit", "5", "--page", "p", "--totals"),
    )

    assert code == 0, err
    [asked] = services.asked
    chosen = asked.filter
    assert (asked.wallet_id, asked.page_size, asked.page_token, asked.with_totals) == ("wallet-USD", 5, "p", True)
    assert asked.order == wallets_pb2.ENTRY_ORDER_OLDEST
    assert (chosen.posted_from.ToJsonString(), chosen.posted_to.ToJsonString()) == (
        "2026-11-01T00:00:00Z",
        "2026-12-01T00:00:00Z",
    )
    assert list(chosen.types) == [wallets_pb2.ENTRY_TYPE_RECHARGE, wallets_pb2.ENTRY_TYPE_SYSTEM]
    assert (list(chosen.items), chosen.order_number, chosen.cloud_phone_id, chosen.search) == (
        ["top"],
        "FA",
        "cp-7",
        "x",
    )
    assert all(part in out for part in ("Top-up", "recharge", "more than 1 lines"))


def test_a_statement_has_all_pages(run: Any, services: Pretended) -> None:
    """Given a statement of two pages. When it is drawn. Then it is one, with all of its lines."""
    options = ("--wallet", "w", "--from", "2026-11-01", "--to", "2026-12-01")
    code, out, err = run("wallet", "statement", *options, "--json")

    assert code == 0, err
    document = json.loads(out)
    assert [each["sequence"] for each in document["lines"]] == ["1", "2"]
    assert [asked.page_token for asked in services.asked] == ["", "second"]
    assert getattr(services.asked[0], "from").ToJsonString() == "2026-11-01T00:00:00Z"
    assert "closing 3 EUR" in run("wallet", "statement", *options)[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("orders", "list", "--status", "lost"), "take one of pending-payment, completed"),
        (("orders", "list", "--from", "yesterday"), "that is no time"),
        (("orders", "export", "--format", "pdf"), "csv or xlsx"),
        (("orders", "export", "--out", "x.pdf"), "--out x.pdf: it ends with neither .csv nor .xlsx"),
        (("wallet", "export", "--wallet", "w", "--out", "x.pdf"), "--out x.pdf: it ends with neither .csv nor .xlsx"),
        (("orders", "list", "--search", "\udcff\udcfe"), "--search \\xff\\xfe: that is no valid UTF-8"),
        (("wallet", "list", "--product=a\udcff"), "--product=a\\xff: that is no valid UTF-8"),
        (("wallet", "list"), "--org DOMAIN, or --wallet ID"),
        (("wallet", "list", "--org", "acme.example"), "EUR, USD. Choose one"),
        (("wallet", "statement", "--from", "", "--to", ""), "first instant"),
    ],
)
def test_wrong_use_says_what_is_right(arguments: tuple[str, ...], said: str, run: Any, services: Pretended) -> None:
    """Given options that cannot be. When the command runs. Then it says what can, exits with 2, and asks nothing."""
    code, _, err = run(*arguments)
    assert code == 2
    assert said in err.replace("\n", " ")
    assert services.asked == []


def test_an_organization_that_is_not_there(run: Any) -> None:
    """Given a domain of nobody. When orders of it are listed. Then it says so, with exit code 1."""
    code, _, err = run("orders", "list", "--buyer", "nobody.example")
    assert (code, "no organization 'nobody.example'" in err) == (1, True)


def test_the_id_behind_a_domain(run: Any) -> None:
    """Given an organization with two wallets. When its id is asked for, and a wallet's. Then that alone is printed."""
    assert run("id", "acme.example")[:2] == (0, "org-acme\n")
    assert run("id", "acme.example", "--wallet", "--currency", "eur")[:2] == (0, "wallet-EUR\n")
    assert run("id", "acme.example", "--wallet")[:2] == (2, "")


def test_numbers_alone(run: Any) -> None:
    """Given orders. When only their numbers are asked for. Then nothing else is printed."""
    assert run("orders", "list", "--number-only")[:2] == (0, "FA-1\n")
