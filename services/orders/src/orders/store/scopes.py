"""The caller's scope as a condition on a column; row-level security stands behind it."""

from servicekit.scope import Scope

_OWN_AND_BELOW = (
    " IN (SELECT o.id FROM organizations AS o WHERE o.id = :viewer_id OR o.ancestor_ids @> ARRAY[:viewer_id])"
)


def within(scope: Scope, organization_column: str) -> tuple[list[str], dict[str, object]]:
    """Conditions, to be joined by AND, and their parameters. Beside the column they read `root_id`."""
    if scope.everything:
        return [], {}
    conditions = [organization_column + _OWN_AND_BELOW]
    parameters: dict[str, object] = {"viewer_id": scope.organization_id}
    if scope.root_id is not None:
        conditions.append("root_id = :viewer_root_id")
        parameters["viewer_root_id"] = scope.root_id
    return conditions, parameters
