"""Compiles rules into closures, applies them to facts, and holds a trail of what was derived from what."""
import random


def rule(kind, limit):
    def apply(fact):
        if fact["kind"] == kind and fact["value"] > limit:
            return {"kind": (kind + 1) % 7, "value": fact["value"] - limit // 2, "because": [fact]}
        return None
    return apply


def main():
    dice = random.Random(5)
    rules = [rule(kind, 20 * level) for kind in range(7) for level in range(1, 4)]
    trail = []
    waiting = [{"kind": dice.randrange(7), "value": dice.randrange(400), "because": []} for _ in range(4000)]
    while waiting and len(trail) < 150000:
        fact = waiting.pop()
        for number in range(3):
            derived = rules[3 * fact["kind"] + number](fact)
            if derived is not None:
                waiting.append(derived)
        trail.append((len(trail), fact))
    depths = {}
    for number, fact in trail[::10]:
        depth = 0
        while fact["because"]:
            fact, depth = fact["because"][0], depth + 1
        depths[depth] = depths.get(depth, 0) + 1
    print(len(trail), max(depths), sorted(depths.items())[:3])


main()
