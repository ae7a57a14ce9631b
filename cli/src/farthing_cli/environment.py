"""Where the system is: addresses and credentials from the environment, else from the local stack that is up."""

import os
from collections.abc import Mapping

from farthing_cli.problems import Problem

# Whoever sets one of these means a system of theirs, not the stack on this machine.
_MARKS = ("WALLET_GRPC", "WALLET_DATABASE_URL", "KAFKA_BOOTSTRAP")


def stack_environment() -> dict[str, str]:
    """Every variable that `farthing stack env` would print. Problem where there is neither environment nor stack."""
    if any(os.environ.get(mark) for mark in _MARKS):
        return dict(os.environ)
    # Half of what a command takes to start, and needed here alone.
    from local_stack import Stack, StackError
    from local_stack.layout import PARTS
    from local_stack.stack import DEFAULT_FOLDER

    stack = Stack(DEFAULT_FOLDER)
    try:
        values = stack.env()
    except StackError:
        values = {}
    if not values or not any(stack.pid(part) for part in PARTS):
        raise Problem(
            "no system to talk to: no local stack is up, and the environment names none.\n"
            "  Start one:      farthing stack up\n"
            "  Or name yours:  export WALLET_GRPC=.. ORDERS_GRPC=.. (everything that `farthing stack env` prints)"
        )
    return {**os.environ, **values}


def need(environment: Mapping[str, str], name: str, what: str) -> str:
    """The variable `name`; Problem that says `what` it is for where it is not set."""
    value = environment.get(name)
    if not value:
        raise Problem(f"{name} is not set: it says {what}. `farthing stack env` prints it for a local stack.")
    return value
