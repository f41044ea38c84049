"""Writes tests/oracle/splits.csv, which `recordings_are_compared` compares.

    python3 tests/oracle/splits.py > tests/oracle/splits.csv

A row is a family of measures of two groups. The probabilities are counted the plain way: every choice
of members for the second group, the largest growth in standard deviations over all measures, and how
often it reaches that of each measure.
"""
import itertools
import random


def mean(values):
    values = list(values)
    return sum(values) / len(values)


print("first,allowed,measures,probabilities")
draw = random.Random(11)
GROUPS = [(5, 5, 1), (5, 5, 6), (4, 4, 3), (10, 3, 4), (3, 7, 5), (1, 9, 2), (6, 6, 8)]
for first, second, count in GROUPS:
    for effect in (0, 0.5, 3):
        members = first + second
        allowed = draw.choice([0, 0.2, 1])
        measures = []
        for kind in range(count):
            values = [
                lambda: draw.gauss(0, 1),
                lambda: draw.choice([0.0, 1.0]),
                lambda: draw.expovariate(1) ** 3,
            ][kind % 3]
            shift = [effect if at >= first and kind < 2 else 0 for at in range(members)]
            measures.append([values() + more for more in shift])

        def largest(chosen, measure):
            inside = mean(measure[at] for at in chosen)
            outside = mean(measure[at] for at in range(members) if at not in chosen)
            growth, spread = inside - outside, mean((v - mean(measure)) ** 2 for v in measure) ** 0.5
            return growth / spread if growth > allowed and spread > 0 else 0

        splits = list(itertools.combinations(range(members), second))
        best = [max(largest(chosen, measure) for measure in measures) for chosen in splits]
        own = [largest(tuple(range(first, members)), measure) for measure in measures]
        shares = [sum(value >= mine * (1 - 1e-9) for value in best) / len(splits) for mine in own]
        text = ";".join(" ".join(map(repr, measure)) for measure in measures)
        print(first, allowed, text, " ".join(map(repr, shares)), sep=",")
