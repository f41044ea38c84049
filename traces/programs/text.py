"""Text processing: a made-up corpus is split by regular expressions, counted, sorted, set again.

Strings of all lengths, large lists of them, counters that grow by doubling. Usage: text.py [LINES]
"""
import collections
import random
import re
import sys

lines = int(sys.argv[1]) if len(sys.argv) > 1 else 900
chance = random.Random(2)
SYLLABLES = "ba be bi bo bu da de di do du ka ke ki ko ku la le li lo lu ma me mi mo mu".split()
vocabulary = ["".join(chance.choices(SYLLABLES, k=chance.randint(1, 5))) for _ in range(2500)]


def line(number):
    words = [vocabulary[min(int(chance.expovariate(0.004)), 2499)] for _ in range(chance.randint(4, 14))]
    words[0] = words[0].capitalize()
    return f"{number}: " + " ".join(words) + chance.choice([".", "!", "?", ", (see {}).".format(number // 2)])


text = "\n".join(line(number) for number in range(lines))
word = re.compile(r"[a-z]+", re.IGNORECASE)
counts = collections.Counter()
places = collections.defaultdict(list)
for number, row in enumerate(text.splitlines()):
    for match in word.finditer(row):
        counts[match.group().lower()] += 1
        places[match.group()].append((number, match.start()))
text = re.sub(r"(\d+): (\w+)", lambda match: f"[{match.group(1)}] {match.group(2).upper()}", text)
pairs = collections.Counter(zip(text.split(), text.split()[1:]))
width = max(map(len, counts))
table = "\n".join(f"{name:<{width}} {count:>6}" for name, count in counts.most_common())
print(len(counts), len(places), len(pairs), len(table))
