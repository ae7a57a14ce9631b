"""`farthing verify`: proves the invariants of the books, the events, the archive and the mail from the outside.

Reads databases, topics, object store and maildir as they are; uses no code of the services.
"""
