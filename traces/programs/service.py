"""A service in small: bursts of requests, and a cache in which some answers outlive their burst.

Survivors are scattered over the memory of their burst, so what a burst leaves behind is hard to give back.
Usage: service.py [REQUESTS A BURST]
"""
import collections
import hashlib
import random
import sys

size = int(sys.argv[1]) if len(sys.argv) > 1 else 200
chance = random.Random(3)
Request = collections.namedtuple("Request", "path query headers body")


class Cache:
    """Keeps the answers last used."""

    def __init__(self, room):
        self.room, self.kept = room, collections.OrderedDict()

    def get(self, key, make):
        if key in self.kept:
            self.kept.move_to_end(key)
        else:
            self.kept[key] = make()
            if len(self.kept) > self.room:
                self.kept.popitem(last=False)
        return self.kept[key]


def request():
    query = {f"q{n}": str(chance.randrange(100)) for n in range(chance.randint(0, 5))}
    headers = {"host": "example.org", "accept": "*/*", "trace": "%032x" % chance.getrandbits(128)}
    path = f"/items/{min(int(chance.expovariate(0.004)), 3000)}"
    return Request(path, query, headers, bytes(chance.randrange(2000)))


def answer(request):
    rows = [{"id": n, "name": f"{request.path}#{n}", "weight": n / 7} for n in range(chance.randint(1, 12))]
    return {"rows": rows, "etag": hashlib.sha1(request.path.encode()).hexdigest(), "text": "y" * chance.randrange(900)}


cache = Cache(500)
served = collections.Counter()
for burst in range(8):
    waiting = collections.deque(request() for _ in range(size * (1 + burst % 3)))
    sessions = [[] for _ in range(20)]
    while waiting:
        current = waiting.popleft()
        result = cache.get(current.path, lambda: answer(current))
        sessions[hash(len(current.body)) % 20].append((current.path, len(result["rows"])))
        served[current.path] += 1
    del sessions
print(len(served), sum(served.values()))
