"""What migrations are made of: the base tables, grants, append-only tables and row-level security.

Called inside alembic's `upgrade()`. Two roles a database: `<service>_owner` migrates, `<service>_app` runs and gets
only what is granted here. The owner is bound by the policies too (FORCE), so a migration that moves rows first
sets `farthing.scope` to `all`.
"""

from alembic import op

# Compared within the sub-select: outside of it the planner would expect one row of two hundred to be seen.
SEES_EVERYTHING = "(SELECT current_setting('farthing.scope', true) = 'all')"


def app_role() -> str:
    """The role the service runs as."""
    owner = op.get_bind().engine.url.username or ""
    return owner.removesuffix("_owner") + "_app"


def grant(table: str, privileges: str) -> None:
    """Grants `privileges`, such as `SELECT, INSERT`, to the runtime role."""
    op.execute(f"GRANT {privileges} ON {table} TO {app_role()}")


def append_only(table: str) -> None:
    """The runtime role may read and add; a trigger refuses UPDATE, DELETE and TRUNCATE, to the owner as well."""
    grant(table, "SELECT, INSERT")
    op.execute(
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def row_security(table: str, visible: str) -> None:
    """Rows for which the SQL condition `visible` holds, and no others, exist for a scoped transaction."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY scope ON {table} USING ({SEES_EVERYTHING} OR ({visible}))")


def tenant_table(table: str, organization_column: str = "organization_id") -> None:
    """Binds the rows of `table` to the organization they belong to (mission O2). Needs the function `sees`."""
    row_security(table, f"sees({organization_column})")


def create_base() -> None:
    """`farthing_now()`, and the tables of outbox, inbox and request replay."""
    op.execute(f"GRANT USAGE ON SCHEMA public TO {app_role()}")
    op.execute(
        """
        CREATE FUNCTION farthing_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
          SELECT clock_timestamp() + coalesce(nullif(current_setting('farthing.clock_offset', true), ''), '0')::interval
        $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
            USING ERRCODE = 'insufficient_privilege';
        END $$
        """
    )
    op.execute(
        """
        CREATE TABLE outbox (
          root_id uuid NOT NULL,
          id bigint GENERATED ALWAYS AS IDENTITY,
          event_id uuid NOT NULL,
          topic text NOT NULL,
          key text NOT NULL,
          payload bytea NOT NULL CHECK (octet_length(payload) <= 8000000),
          traceparent text,
          created_at timestamptz NOT NULL DEFAULT farthing_now(),
          published_at timestamptz,
          PRIMARY KEY (root_id, id)
        )
        """
    )
    op.execute("CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL")
    # Only the mark of having been published ever changes.
    grant("outbox", "SELECT, INSERT, UPDATE (published_at)")
    op.execute(
        """
        CREATE TABLE inbox (
          root_id uuid NOT NULL,
          consumer text NOT NULL,
          event_id uuid NOT NULL,
          processed_at timestamptz NOT NULL DEFAULT farthing_now(),
          PRIMARY KEY (root_id, consumer, event_id)
        )
        """
    )
    append_only("inbox")
    op.execute(
        """
        CREATE TABLE requests (
          root_id uuid NOT NULL,
          requester text NOT NULL,
          method text NOT NULL,
          request_id text NOT NULL,
          body_sha256 bytea NOT NULL,
          reply bytea NOT NULL,
          created_at timestamptz NOT NULL DEFAULT farthing_now(),
          PRIMARY KEY (root_id, requester, method, request_id)
        )
        """
    )
    append_only("requests")
