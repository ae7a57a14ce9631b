"""Recurring plans: renewal, change, cancellation. So far: the copy of the organization tree, migrations and health."""
