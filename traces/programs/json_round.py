"""JSON in and out: an order book is written as text, read back, changed and written again.

Usage: json_round.py [ROUNDS]. Short strings; small dicts and lists that die together; large texts.
"""
import json
import random
import sys

rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
chance = random.Random(11)


def order(number):
    lines = [
        {"sku": f"{chance.randrange(10**6):06d}", "count": chance.randint(1, 9), "price": chance.random() * 100}
        for _ in range(chance.randint(1, 8))
    ]
    return {
        "order": number,
        "customer": f"customer-{chance.randrange(5000)}",
        "lines": lines,
        "note": "leave at the door " * chance.randint(0, 6),
        "address": {"street": f"{chance.randrange(400)} High Street", "town": chance.choice(["Bath", "York", "Ely"])},
    }


total = 0
for batch in range(rounds):
    text = json.dumps([order(batch * 60 + number) for number in range(60)])
    book = json.loads(text)
    for entry in book:
        entry["sum"] = sum(line["count"] * line["price"] for line in entry["lines"])
    total += len(json.dumps(book, indent=1, sort_keys=True))
print(total)
