"""A service in small: bursts of requests, and a cache in which some answers outlive their burst.

Survivors lie scattered over the memory of their burst, so that memory is hard to return. After the
bursts most of the cache goes, and quiet traffic follows. The process is ended from outside, as a
service is: the trace ends with what a service holds, and not with an interpreter's finalisation.
Usage: service.py [REQUESTS IN THE SMALLEST BURST]
"""
import collections
import gc
import json
import os
import random
import sys

size = int(sys.argv[1]) if len(sys.argv) > 1 else 300
chance = random.Random(3)
catalogue = {f"item-{n}": {"price": chance.randrange(10_000), "about": "x" * chance.randint(10, 200)} for n in range(1500)}


def order(number):
    """What a client sends."""
    lines = [
        {"item": f"item-{chance.randrange(1500)}", "count": chance.randint(1, 9), "note": "n" * chance.randint(0, 60)}
        for _ in range(chance.randint(1, 8))
    ]
    return {"id": number, "client": "client-%06d" % chance.randrange(10**6), "lines": lines, "weight": chance.random()}


class Session:
    """What the service holds of an order."""

    __slots__ = ("number", "client", "lines", "total")

    def __init__(self, decoded):
        self.number, self.client, self.lines = decoded["id"], decoded["client"], decoded["lines"]
        self.total = sum(catalogue[line["item"]]["price"] * line["count"] for line in self.lines)


def burst(number, requests, cache):
    """Decodes a batch, sorts it by client and answers; one session in 37 stays in the cache."""
    sessions = [Session(decoded) for decoded in json.loads(json.dumps([order(n) for n in range(requests)]))]
    by_client = collections.defaultdict(list)
    for session in sessions:
        by_client[session.client[-2:]].append(session)
        if session.number % 37 == 0:
            cache[number, session.number] = session
    return sum(len(group) for group in by_client.values())


cache = {}
served = 0
for number, factor in enumerate([1, 3, 6, 2, 5, 1]):
    served += burst(number, size * factor, cache)
    gc.collect()
for key in list(cache):  # most of the cache goes …
    if key[0] != 2:
        del cache[key]
for number in range(size):  # … and quiet traffic follows
    served += len(json.loads(json.dumps(order(number)))["lines"]) > 0
gc.collect()
print(served, len(cache))
sys.stdout.flush()
os._exit(0)
