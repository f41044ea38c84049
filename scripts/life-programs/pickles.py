"""Objects with cross references are pickled and loaded again; the last generations stay."""
import collections
import pickle
import random

dice = random.Random(62)


class Part:
    def __init__(self, number):
        self.number = number
        self.name = "part-%d" % number
        self.uses = []
        self.stock = {"shelf": number % 97, "left": float(number % 13)}


def assembly(size):
    parts = [Part(number) for number in range(size)]
    for part in parts:
        part.uses = [parts[part.number // 2], parts[part.number // 3]]
    return parts


generations = collections.deque(maxlen=3)
total = 0
for generation in range(10):
    parts = assembly(2500)
    packed = pickle.dumps(parts, protocol=4)
    total += len(packed)
    generations.append(pickle.loads(packed))
print(len(generations), sum(len(parts) for parts in generations), total > 0)
