"""Reports of orders: each a JSON text of several MiB beside a cache that grows."""
import json
import random

random.seed(31)
cache = {}


def orders(count):
    for number in range(count):
        lines = [{"article": random.randrange(9000), "pieces": random.randrange(1, 9)} for _ in range(3)]
        yield {"order": number, "customer": "customer %d" % random.randrange(500), "lines": lines}


for day in range(8):
    rows = list(orders(12000 if day == 5 else 3000))
    text = json.dumps(rows)
    for row in rows[::25]:
        cache[day, row["order"]] = row["customer"]
    del rows
    total = sum(line["pieces"] for row in json.loads(text) for line in row["lines"])
    cache[day] = (len(text), total)
print(len(cache), sum(cache[day][1] for day in range(8)))
