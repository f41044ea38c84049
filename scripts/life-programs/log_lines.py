"""Lines of a log: matched, split, counted by key, and the slowest requests sorted out."""
import random
import re
from collections import Counter, defaultdict

dice = random.Random(47)
LINE = re.compile(r'(\S+) \[([^\]]+)\] "(GET|PUT) (\S+)" (\d+) (\d+)')
by_path, by_status, slow = defaultdict(list), Counter(), []
for at in range(100_000):
    path = "/shop/%d/item/%d" % (dice.randrange(60), dice.randrange(900))
    line = '10.0.%d.%d [%d] "%s %s" %d %d' % (
        dice.randrange(4), dice.randrange(250), at, dice.choice(["GET", "PUT"]), path,
        dice.choice([200, 200, 200, 404, 500]), dice.randrange(90_000),
    )
    host, _, verb, path, status, took = LINE.match(line).groups()
    by_status[status, verb] += 1
    by_path[path.rsplit("/", 2)[0]].append(int(took))
    if int(took) > 80_000:
        slow.append((int(took), host, path))
        if len(slow) > 2_000:
            slow = sorted(slow, reverse=True)[:500]
print(by_status.most_common(2), len(by_path), len(slow))
