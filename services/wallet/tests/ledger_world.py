"""A small world for the ledger's tests, written straight into the tables: partners, resellers and customers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from farthing.wallet.v1.organizations_pb2 import Organization
from servicekit.ids import new_id
from wallet.domain.chain import broken_at
from wallet.domain.ledger import Charge, Line, Outcome, Posted, Recharge, Refusal, Tier, Transaction
from wallet.engine import Asked, Engine, LedgerUnavailableError
from wallet.store.ledger import post_line


@dataclass(frozen=True)
class Chain:
    """A customer, its reseller, the partner at the root, and the platform; wallets of the first three."""

    root_id: UUID
    organization_ids: tuple[UUID, ...]
    wallet_ids: tuple[UUID, ...]
    currency: str = "EUR"

    def charge(
        self, *prices: tuple[int, int], request_id: str | None = None, item: str = "Proxy", currency: str = ""
    ) -> Charge:
        """A charge of (net, tax) at each tier."""
        ids = self.organization_ids
        tiers = tuple(Tier(ids[n], ids[n + 1], net, tax) for n, (net, tax) in enumerate(prices))
        key = f"orders:{request_id or uuid4()}"
        body = sha256(repr((tiers, key, item, currency)).encode()).digest()
        order_id = new_id()
        return Charge(key, body, self.root_id, currency or self.currency, order_id, "2026-000007", item, tiers)

    def recharge(self, tier: int, amount: int, request_key: str | None = None) -> Recharge:
        """Money for the wallet of the buyer of `tier`."""
        return Recharge(
            request_key or f"top-up:{uuid4()}",
            sha256(str(amount).encode()).digest(),
            self.root_id,
            self.wallet_ids[tier - 1],
            self.organization_ids[tier - 1],
            self.currency,
            amount,
            "Top-up",
        )


@dataclass
class World:
    """Makes chains and looks into the tables, through `pool`, which sees everything."""

    pool: "asyncpg.Pool[Any]"
    platform_id: UUID = field(default_factory=new_id)

    async def chain(
        self,
        *,
        money: Sequence[int] = (0, 0, 0),
        limits: Sequence[int] = (0, 0, 0),
        earns: Sequence[bool] = (False, False, False),
        under: Chain | None = None,
        currency: str = "EUR",
    ) -> Chain:
        """A new customer -> reseller -> partner; with `under`, a new customer of that reseller."""
        made = [new_id() for _ in range(1 if under else 3)]
        ids = (made[0], *under.organization_ids[1:]) if under else (*made, self.platform_id)
        root_id = ids[-2]
        async with self.pool.acquire() as connection, connection.transaction():
            wallet_ids = []
            for tier, organization_id in enumerate(made):
                await self._organization(connection, root_id, ids[tier:])
                wallet_ids.append(
                    await self.wallet(
                        root_id, organization_id, ids[tier + 1], currency, limits[tier], earns[tier], connection
                    )
                )
            chain = Chain(root_id, ids, (*wallet_ids, *(under.wallet_ids[1:] if under else ())), currency)
            for tier, amount in enumerate(money[: len(made)], 1):
                if amount:
                    assert isinstance(await post_line(connection, chain.recharge(tier, amount)), Posted)
        return chain

    async def wallet(
        self,
        root_id: UUID,
        organization_id: UUID,
        seller_id: UUID,
        currency: str,
        limit: int = 0,
        earns: bool = False,
        connection: Any = None,
    ) -> UUID:
        """A new wallet."""
        wallet_id = new_id()
        await (connection or self.pool).execute(
            "INSERT INTO wallets (root_id, id, organization_id, seller_id, currency, credit_limit_micros, earnings) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7)",
            *(root_id, wallet_id, organization_id, seller_id, currency, limit, 2 if earns else 1),
        )
        return wallet_id

    async def _organization(self, connection: Any, root_id: UUID, ids: Sequence[UUID]) -> None:
        domain = f"{ids[0].hex}.example"
        message = Organization(
            id=str(ids[0]),
            parent_id=str(ids[1]),
            root_id=str(root_id),
            ancestor_ids=[str(id_) for id_ in ids[1:]],
            name="Test",
            domain=domain,
            currency="EUR",
            language="en",
            version=1,
        )
        await connection.execute(
            "INSERT INTO organizations (root_id, id, parent_id, ancestor_ids, domain, name, currency, version, "
            "resource, created_at) VALUES ($1, $2, $3, $4, $5, 'Test', 'EUR', 1, $6, now())",
            *(root_id, ids[0], ids[1], list(ids[1:]), domain, message.SerializeToString()),
        )

    async def balances(self, chain: Chain) -> list[int]:
        """Balances of the chain's wallets, from the customer's up."""
        rows = await self.pool.fetch(
            "SELECT id, balance_micros FROM wallets WHERE id = ANY($1)", list(chain.wallet_ids)
        )
        found = {row["id"]: row["balance_micros"] for row in rows}
        return [found[wallet_id] for wallet_id in chain.wallet_ids]

    async def check(self, root_id: UUID) -> None:
        """Everything that must hold for the books of a root: zero sums, balances, limits, sequences, hashes, events."""
        unbalanced = await self.pool.fetch(
            "SELECT transaction_id FROM postings WHERE root_id = $1 GROUP BY 1 HAVING sum(amount_micros) <> 0", root_id
        )
        assert not unbalanced
        transactions = {
            row["id"]: Transaction(*row)
            for row in await self.pool.fetch(
                f"SELECT {', '.join(Transaction._fields)} FROM transactions WHERE root_id = $1", root_id
            )
        }
        lines = [
            Line(*row)
            for row in await self.pool.fetch(
                f"SELECT {', '.join(Line._fields)} FROM lines WHERE root_id = $1 ORDER BY wallet_id, sequence", root_id
            )
        ]
        assert {line.transaction_id for line in lines} == set(transactions)
        for wallet in await self.pool.fetch("SELECT * FROM wallets WHERE root_id = $1", root_id):
            own = [line for line in lines if line.wallet_id == wallet["id"]]
            assert [line.sequence for line in own] == list(range(1, wallet["sequence"] + 1))
            assert broken_at([(line, transactions[line.transaction_id]) for line in own]) is None
            running = 0
            for line in own:
                running += line.amount_micros
                assert line.balance_after_micros == running
                assert running >= -line.credit_limit_micros
            assert wallet["balance_micros"] == running
            assert wallet["last_hash"] == (own[-1].hash if own else bytes(32))
            instants = [transactions[line.transaction_id].posted_at for line in own]
            assert instants == sorted(instants)
        charged = sum(transaction.kind in (2, 3, 4) for transaction in transactions.values())
        events = await self.pool.fetchval(
            "SELECT count(*) FROM outbox WHERE root_id = $1 AND topic = 'farthing.wallet.v1'", root_id
        )
        assert events == charged


def asked(*charges: Charge) -> list[Asked]:
    """Charges as the engine takes them."""
    return [Asked(charge) for charge in charges]


def reasons(outcomes: Sequence[Outcome]) -> list[str]:
    """'posted', or why not."""
    return [outcome.reason if isinstance(outcome, Refusal) else "posted" for outcome in outcomes]


async def insist(engine: Engine, batch: list[Asked]) -> list[Outcome]:
    """The answers of a batch, asked for again as callers do when the ledger is away for a moment."""
    for _ in range(5):
        try:
            return await engine.post_batch(batch)
        except LedgerUnavailableError:
            await asyncio.sleep(0.1)
    return await engine.post_batch(batch)
