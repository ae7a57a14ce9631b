"""The garbage collector of a process that serves thousands of calls a second."""

import gc

# More than the objects that calls under way hold at once: only what they leave behind in cycles gets there.
COLLECT_AFTER = 50_000


def collect_seldom() -> None:
    """Has the collector look for cycles among new objects only, and seldom; called once, when all is set up.

    What there is by then lives until the end and is never looked at again. By default Python looks after every 700
    new objects, nearly all of them in use: a quarter of wallet's time when it posts charges, in pauses of 0.1 s.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 10)
