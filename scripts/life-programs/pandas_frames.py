"""pandas: frames are joined, grouped and filtered; a table of the results stays."""
import numpy as np
import pandas as pd

dice = np.random.default_rng(2)
parts = []
for number in range(12):
    count = 40_000
    keys, names = dice.integers(0, 5000, count), dice.choice(list("abcdef"), count)
    left = pd.DataFrame({"key": keys, "value": dice.random(count), "name": names})
    right = pd.DataFrame({"key": np.arange(5000), "weight": dice.random(5000)})
    joined = left.merge(right, on="key")
    joined["score"] = joined["value"] * joined["weight"]
    parts.append(joined.groupby(["key", "name"])["score"].agg(["sum", "count"]).reset_index())
table = pd.concat(parts, ignore_index=True)
print(len(table), int(table["count"].sum()))
