"""The table `organizations` and its row-level security; called inside an alembic upgrade."""

from alembic import op
from servicekit import schema

_TABLE = """
    CREATE TABLE organizations (
        root_id uuid NOT NULL,
        id uuid NOT NULL,
        parent_id uuid,
        -- From the parent up to the platform.
        ancestor_ids uuid[] NOT NULL,
        domain text COLLATE "C" NOT NULL,
        name text NOT NULL,
        currency text NOT NULL,
        version bigint NOT NULL CHECK (version > 0),
        -- A serialized farthing.wallet.v1.Organization: all of it.
        resource bytea NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (root_id, id),
        UNIQUE (root_id, domain),
        CHECK (parent_id IS NOT DISTINCT FROM ancestor_ids[1]),
        CHECK (id <> ALL (ancestor_ids))
    )
"""

# Tokens and events name an organization without its root.
_INDEXES = (
    "CREATE INDEX organizations_id ON organizations (id)",
    "CREATE INDEX organizations_domain ON organizations (domain)",
    "CREATE INDEX organizations_parent ON organizations (parent_id, domain)",
    "CREATE INDEX organizations_ancestors ON organizations USING gin (ancestor_ids)",
)

_SCOPE_ORGANIZATION_ID = """
    CREATE FUNCTION scope_organization_id() RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT CASE WHEN current_setting('farthing.scope', true) IN ('all', '') THEN NULL
               ELSE current_setting('farthing.scope', true)::uuid END
    $$
"""
_SEES = """
    CREATE FUNCTION sees(organization_id uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
        SELECT EXISTS (SELECT FROM organizations WHERE id = $1)
    $$
"""

# The setting is read once a statement, not once a row: hence the sub-selects.
_VISIBLE = "id = (SELECT scope_organization_id()) OR ancestor_ids @> ARRAY[(SELECT scope_organization_id())]"


def create_organizations() -> None:
    """Creates `organizations` and the function `sees(organization_id)`: is it within the caller's scope?

    A connection without a scope sees nothing. Call it before any `servicekit.schema.tenant_table`.
    """
    for statement in (_TABLE, *_INDEXES, _SCOPE_ORGANIZATION_ID, _SEES):
        op.execute(statement)
    schema.row_security("organizations", _VISIBLE)
    schema.grant("organizations", "SELECT, INSERT, UPDATE")
