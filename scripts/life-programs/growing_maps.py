"""Dictionaries and lists that grow by doubling, beside long texts that are made and dropped."""
import random

random.seed(34)
frequent = []
for wave in range(12):
    seen = {}
    order = []
    for number in range(60000 if wave in (4, 9) else 15000):
        word = "w%d" % random.randrange(40000)
        if word in seen:
            seen[word] += 1
        else:
            seen[word] = 1
            order.append(word)
    text = " ".join(order * 3)
    frequent.append({word for word in text.split() if seen[word] > 3})
    del seen, order
print(len(frequent), sum(map(len, frequent)))
