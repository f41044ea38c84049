"""pandas: rows with text columns are joined, grouped and sorted, in small pieces and in a large one."""
import random

import pandas

dice = random.Random(71)
cities = ["city %d" % number for number in range(300)]
held = []
for month in range(6):
    size = 9000
    visits = pandas.DataFrame({
        "city": dice.choices(cities, k=size),
        "guest": ["guest %d" % dice.randrange(4000) for _ in range(size)],
        "nights": [dice.randrange(1, 15) for _ in range(size)],
    })
    prices = pandas.DataFrame({"city": cities, "price": [dice.randrange(40, 300) for _ in cities]})
    bills = visits.merge(prices, on="city")
    bills["sum"] = bills["nights"] * bills["price"]
    for _, group in bills.groupby("city"):
        held.append((len(group), group["guest"].nunique(), int(group["sum"].sum())))
    bills["first"] = bills["guest"].str.split(" ").str[1].astype(int)
    held.append((month, int(bills.sort_values("first")["sum"].iloc[-1]), 0))
print(len(held), sum(entry[2] for entry in held))
