"""Takes snapshots of a warehouse as nested dictionaries, and compares each with the one before."""
import random


def snapshot(dice, shelves, before):
    state = {}
    for shelf in range(shelves):
        old = before.get(shelf) if before else None
        if old is not None and dice.random() < 0.6:
            state[shelf] = {
                "items": dict(old["items"]), "touched": old["touched"], "notes": list(old["notes"]),
            }
            continue
        items = {
            "sku%d" % dice.randrange(3000): [dice.randrange(90), (shelf, dice.randrange(9))]
            for _ in range(7)
        }
        state[shelf] = {"items": items, "touched": [shelf], "notes": [{"by": "w%d" % dice.randrange(20)}]}
    return state


def changes(old, new):
    out = []
    for shelf, content in new.items():
        was = old.get(shelf, {}).get("items", {})
        for sku, row in content["items"].items():
            if was.get(sku) != row:
                out.append({"shelf": shelf, "sku": sku, "from": was.get(sku), "to": row})
    return out


def main():
    dice = random.Random(8)
    held, log, before = [], 0, None
    for night in range(14):
        state = snapshot(dice, 2500, before)
        if before is not None:
            log += len(changes(before, state))
        held.append(state)
        del held[:-6]
        before = state
    print(len(held), log)


main()
