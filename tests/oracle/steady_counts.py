"""Writes tests/oracle/steady_counts.csv, which `recordings_are_compared` compares.

    python3 tests/oracle/steady_counts.py > tests/oracle/steady_counts.csv

A row has counts by key of the members of two groups, and one measure beside them. For every choice of
members the steady keys are chosen anew, by the standard deviations within both groups. The probabilities
of the counts and of the measure come from the largest of both statistics over all choices.
"""
import itertools
import math
import random


def mean(values):
    return math.fsum(values) / len(values)


def deviation(values):
    return math.sqrt(mean([(v - mean(values)) ** 2 for v in values]))


def within(values, chosen):
    """The pooled standard deviation of the values within both groups."""
    groups = [[v for at, v in enumerate(values) if (at in chosen) == side] for side in (False, True)]
    squares = sum((v - mean(group)) ** 2 for group in groups for v in group)
    return math.sqrt(squares / (len(values) - 2))


def growth(values, chosen):
    inside = [v for at, v in enumerate(values) if at in chosen]
    outside = [v for at, v in enumerate(values) if at not in chosen]
    return mean(inside) - mean(outside)


def added(keys):
    return [sum(column) for column in zip(*keys)]


def of_counts(counts, chosen, allowed):
    """The statistic of the counts, and how many keys are steady."""
    budget, steady = allowed / 4, []
    for spread, key in sorted((within(key, chosen), at) for at, key in enumerate(counts)):
        budget -= spread
        if budget < -1e-9:
            break
        steady.append(counts[key])
    if not steady:
        return 0, 0
    every = added(counts)
    error = within(every, chosen) * math.sqrt(1 / len(chosen) + 1 / (len(every) - len(chosen)))
    sums = added(steady)
    grown = growth(sums, chosen)
    counts_at_all = grown > allowed and growth(every, chosen) + 3 * error > allowed
    return (grown / deviation(sums) if counts_at_all else 0), len(steady)


def of_measure(values, chosen, allowed):
    grown = growth(values, chosen)
    return grown / deviation(values) if grown > allowed else 0


print("first,allowed,counts,measure,steady_keys,of_counts,of_measure")
draw = random.Random(5)
for first, second in [(5, 5), (6, 4), (3, 7), (6, 6)]:
    for change in ("none", "grows", "moves", "falls elsewhere", "scales"):
        members, later = first + second, range(first, first + second)
        allowed = 40.0
        calm = [[base + draw.randrange(3) for _ in range(members)] for base in (900, 700, 300, 40)]
        wild = [[draw.randrange(2000, 4000) for _ in range(members)] for _ in range(2)]
        two = [[draw.choice([100, 160]) for _ in range(members)]]
        for at in later:
            if change == "grows":
                calm[3][at] += 90
            if change == "moves":
                calm[0][at] -= 200
                calm[2][at] += 200
            if change == "falls elsewhere":
                calm[3][at] += 90
                wild[0][at] -= 1900
                wild[1][at] -= 1900
            if change == "scales":
                for key in calm:
                    key[at] = key[at] * 21 // 20
        counts, measure = calm + wild + two, [draw.gauss(0, 1) for _ in range(members)]
        splits = [set(chosen) for chosen in itertools.combinations(range(members), second)]
        best = [max(of_counts(counts, c, allowed)[0], of_measure(measure, c, 0.1)) for c in splits]
        (mine, steady), other = of_counts(counts, set(later), allowed), of_measure(measure, set(later), 0.1)
        shares = [sum(b >= own * (1 - 1e-9) for b in best) / len(splits) for own in (mine, other)]
        text = ";".join(" ".join(map(str, key)) for key in counts)
        print(first, allowed, text, " ".join(map(repr, measure)), steady, *shares, sep=",")
