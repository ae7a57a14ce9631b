"""Given texts that are ids or none, then the one that is none is told with its field and what it holds, cut short."""

import pytest
from farthing.wallet.v1 import organizations_pb2
from servicekit.ids import id_in, new_id, parse_id


def test_an_id_is_read() -> None:
    """Given an id in a field, when read, then it is that id."""
    made = new_id()
    assert id_in(organizations_pb2.Organization(root_id=str(made)), "root_id") == made == parse_id(str(made))


@pytest.mark.parametrize(("written", "said"), [("", "''"), ("x", "'x'"), ("y" * 10_000, f"'{'y' * 40}…'")])
def test_what_is_none_is_told(written: str, said: str) -> None:
    """Given what is no id, when read, then ValueError names the field and the beginning of what it holds."""
    with pytest.raises(ValueError, match=r"^root_id ") as refused:
        id_in(organizations_pb2.Organization(root_id=written), "root_id")
    assert str(refused.value) == f"root_id {said} is not a UUID"
    assert parse_id(written) is None
