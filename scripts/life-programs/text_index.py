"""Pure Python: an index of made-up documents, with phrases looked up and the oldest documents dropped."""
import random
import re

dice = random.Random(5)
words = ["".join(dice.choice("abcdefghijklmnop") for _ in range(dice.randrange(2, 11))) for _ in range(5000)]
index, documents = {}, {}
hits = 0
for number in range(2400):
    text = " ".join(dice.choices(words, k=60))
    documents[number] = text
    for place, found in enumerate(re.finditer(r"\w+", text)):
        index.setdefault(found.group(), []).append((number, place))
    if number % 3 == 0:
        hits += len(index.get(dice.choice(words), ()))
    if number >= 1600:
        for word in set(documents.pop(number - 1600).split()):
            index[word] = [entry for entry in index[word] if entry[0] != number - 1600]
print(hits, len(index), sum(len(entries) for entries in index.values()))
