"""`farthing demo --once` on a stack that is up already."""

import json
from collections.abc import Callable
from typing import Any

from local_stack.stack import Stack


def test_the_story_holds_and_leaves_the_stack_as_it_was(farthing: Callable[..., Any], running_stack: Stack) -> None:
    """Given a stack that is up. When the demo runs once. Then all of it holds, and what ran before still runs."""
    done = farthing("demo", "--once", "--json", "--folder", str(running_stack.folder))
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["ok"]
    assert [found["number"] for found in told["verify"]["invariants"]] == [1, 2, 3, 4, 5, 7, 8, 15, 16, 18, 17]
    for order in told["showcase"]:
        assert order["postings"] == 8, "three tiers, the platform's without tax"
        assert order["mailed_to"] == ["maya@lantern.example", "tom@lantern.example"]
    assert told["refusal"]["reason"] == "SELLER_CANNOT_SELL"
    afterwards = told["afterwards"]
    assert afterwards["refunded_order"] == told["showcase"][1]["order"]
    assert afterwards["voucher_amount"] == "10"
    assert afterwards["second_use"] == "VOUCHER_NOT_VALID"
    assert afterwards["export_rows"] >= 3, "the two showcase orders and the one paid by bank"
    assert all(part.health == "ok" for part in running_stack.status())
