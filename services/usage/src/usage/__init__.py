"""Usage events: rating, aggregation, charging. So far: the copy of the organization tree, migrations and health."""
