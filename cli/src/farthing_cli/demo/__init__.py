"""`farthing demo`: a small believable world, some purchases in it, and what they left everywhere."""
