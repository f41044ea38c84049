"""Object churn: small objects of many kinds are made, linked, unlinked and dropped in no order.

Usage: churn.py [STEPS]. The allocator takes nearly all of the time; lifetimes have a long tail.
"""
import random
import sys

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 25_000
chance = random.Random(5)


class Node:
    __slots__ = ("key", "left", "data")

    def __init__(self, key, left, data):
        self.key, self.left, self.data = key, left, data


def make(step):
    kind = step % 6
    if kind == 0:
        return [step, step + 1, step + 2]
    if kind == 1:
        return {"step": step}
    if kind == 2:
        return "x" * (step % 97)
    if kind == 3:
        return (step, str(step))
    if kind == 4:
        return bytes(step % 300)
    return {step, step + 1}


table = [None] * 4096
for step in range(steps):
    at = chance.randrange(4096)
    before = table[at]
    if step % 3 == 0 and before is not None:
        table[at] = None
    else:
        table[at] = Node(step, before if step % 5 == 0 else None, make(step))
print(sum(node is not None for node in table))
