"""Each service's own copy of the organization tree: who sells to whom, who acts for each, how papers look.

`wallet` owns the tree and writes it; everybody else keeps a copy from its events. Rows are seen through
row-level security: an organization sees itself and those below it, never a sibling or a parent.
"""
