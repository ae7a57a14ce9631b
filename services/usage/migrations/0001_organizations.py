"""The copy of the organization tree, outbox, inbox and request replay."""

from directory.schema import create_organizations
from servicekit.schema import create_base

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_base()
    create_organizations()
