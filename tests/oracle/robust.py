"""Writes tests/oracle/robust.csv, the figures that `statistics_match_scipy` compares.

    pip install scipy && python3 tests/oracle/robust.py > tests/oracle/robust.csv

Trimmed means come from scipy.stats.trim_mean, and standard errors from scipy's winsorised variance.
scipy's trimmed_mean_ci must agree with them but for its other factor for small samples. Quantiles come
from scipy.stats.t.isf and beta.cdf.
"""
import random

import numpy as np
import scipy
from scipy import stats

print("# scipy", scipy.__version__)
print("kind,a,b,c,values,x,y")
draw = random.Random(7)
for n in (5, 7, 10, 15, 22, 33, 50, 75, 168):
    for shape in ("normal", "heavy", "skewed"):
        values = {
            "normal": lambda: draw.gauss(0.01, 0.02),
            "heavy": lambda: draw.gauss(0, 0.01) / max(draw.random(), 1e-3),
            "skewed": lambda: draw.expovariate(30) - 0.01,
        }[shape]
        data = np.array([values() for _ in range(n)])
        mean = stats.trim_mean(data, 0.2)
        # The standard error from scipy's interval, which is twice the quantile times the error.
        low, high = stats.mstats.trimmed_mean_ci(
            data, limits=(0.2, 0.2), inclusive=(True, True), alpha=0.05
        )
        remaining = n - 2 * int(0.2 * n)
        quantile = stats.t.isf(0.025, remaining - 1)
        error = (high - low) / 2 / quantile
        # scipy divides the winsorised deviation by (1 - 2 * 0.2) sqrt(n). That is Yuen's only where 0.2 n
        # is whole and n is large. Yuen's own is scipy's winsorised variance over h (h - 1).
        winsorised = stats.mstats.winsorize(data, limits=(0.2, 0.2))
        variance = np.var(np.asarray(winsorised), ddof=1)
        yuen = np.sqrt((n - 1) * variance / (remaining * (remaining - 1)))
        assert 0.7 < error / yuen < 1.4, (n, error, yuen)
        text = " ".join(repr(float(v)) for v in data)
        print(f"trimmed,{n},,,{text},{float(mean)!r},{float(yuen)!r}")
for above in (0.4, 0.05, 0.01, 0.001, 1e-5, 4.2e-6, 1e-9):
    for freedom in (1, 2, 5, 5.5, 8, 19, 45, 226, 5000):
        print(f"student,{above!r},{freedom!r},,,{float(stats.t.isf(above, freedom))!r},")
for a, b in ((0.5, 0.5), (1, 1), (2.5, 0.5), (113, 0.5), (3, 998), (1000, 1)):
    for x in (1e-6, 0.01, 0.3, 0.5, 0.9, 0.999):
        print(f"beta,{a!r},{b!r},{x!r},,{float(stats.beta.cdf(x, a, b))!r},")
for hits, trials in ((0, 1000), (1, 1000), (3, 12), (12, 12), (197, 200), (500, 1000)):
    found = stats.binomtest(hits, trials).proportion_ci(0.95, "exact")
    print(f"interval,{hits},{trials},0.95,,{float(found.low)!r},{float(found.high)!r}")
