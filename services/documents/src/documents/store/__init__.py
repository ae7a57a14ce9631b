"""SQL: receipts with their manifest, notices, the deliveries of both.

Every query that locks takes its rows here. Scoped reads are bounded by row-level security.
"""
