"""How often the lower bound of a stage is above the truth, by simulation.

The usual figure at each place is shared by the pairs (`ratios` in src/bench/pairs.rs), or each pair is
trimmed by itself. Prints the shares for docs/method/check.md.

Needs numpy and scipy: python3 tests/oracle/shared_places.py
"""

import numpy as np
from scipy.stats import t as student

NOMINAL, TRIALS, TRIM = 0.02, 6000, 0.2
random = np.random.default_rng(1)


def trimmed(values):
    values = np.sort(values, axis=1)
    cut = int(TRIM * values.shape[1])
    return values[:, cut : values.shape[1] - cut].mean(axis=1)


def by_pair(logs):
    return trimmed(logs.reshape(len(logs), -1))


def shared(logs):
    usual = np.median(logs.reshape(-1, logs.shape[2]), axis=0)
    return usual.mean() + trimmed((logs - usual).reshape(len(logs), -1))


def lower(figures):
    figures = np.sort(figures)
    n, cut = len(figures), int(TRIM * len(figures))
    remaining = figures[cut : n - cut]
    h = len(remaining)
    winsorised = np.clip(figures, remaining[0], remaining[-1])
    error = np.sqrt(((winsorised - winsorised.mean()) ** 2).sum() / (h * (h - 1)))
    return remaining.mean() - student.isf(NOMINAL, h - 1) * error


for pairs in (6, 10, 15):
    for iterations, places in ((3, 20), (1, 60)):
        hits = {"shared": 0, "by_pair": 0}
        for _ in range(TRIALS):
            wide = np.where(random.random((pairs, iterations, places)) < 0.1, 5, 1)
            noise = random.normal(0, 0.05, (pairs, iterations, places)) * wide
            logs = noise + random.normal(0, 0.01, (pairs, 1, 1))
            hits["shared"] += lower(shared(logs)) > 0
            hits["by_pair"] += lower(by_pair(logs)) > 0
        shares = {name: round(hit / TRIALS, 4) for name, hit in hits.items()}
        sizes = f"{pairs} pairs of {iterations} iterations with {places} places"
        print(f"{sizes}: {shares}, nominal {NOMINAL}")
