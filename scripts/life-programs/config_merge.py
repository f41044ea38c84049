"""Merges layered settings of many tenants into trees of dictionaries, and looks values up in them."""
import copy
import random


def layer(dice, depth):
    if depth == 0:
        return {"value": dice.random(), "source": "layer %d" % dice.randrange(9), "tags": [dice.randrange(5)]}
    return {"key%d" % number: layer(dice, depth - 1) for number in range(5)}


def merge(below, above):
    merged = copy.copy(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            merged[key] = merge(below[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def main():
    dice = random.Random(3)
    base = layer(dice, 4)
    tenants = {}
    for tenant in range(700):
        tenants[tenant] = merge(base, {"key%d" % (tenant % 5): layer(dice, 3)})
    found = 0.0
    for _ in range(150000):
        node = tenants[dice.randrange(700)]
        while "value" not in node:
            node = node["key%d" % dice.randrange(5)]
        found += node["value"]
    print("%.3f" % found)


main()
