"""The collector as services have it, in a process of its own: it is the whole process's."""

import subprocess
import sys

_PROGRAM = """
import gc, weakref
from servicekit.garbage import COLLECT_AFTER, collect_seldom

class Node: pass
def cycle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

collect_seldom()
collections = []
gc.callbacks.append(lambda phase, _: collections.append(phase))
held = [[] for _ in range(COLLECT_AFTER // 2)]
print(len(collections))
alive = [cycle() for _ in range(4 * COLLECT_AFTER)]
print(sum(node() is not None for node in alive) < 2 * COLLECT_AFTER, gc.get_freeze_count() > 1000)
"""


def test_objects_in_use_are_let_alone_and_cycles_do_not_pile_up() -> None:
    """Given a process set up, when it makes many objects that it uses, then none is looked at; cycles are found."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["0", "True", "True"]
