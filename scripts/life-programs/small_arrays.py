"""NumPy: many small arrays, sliced, scaled and summed, and a few that stay."""
import random

import numpy

dice = random.Random(41)
stored, total = [], 0.0
for at in range(40_000):
    points = numpy.full(dice.randint(4, 200), float(at % 13))
    points[::2] *= 0.5
    scaled = points * 1.5 + numpy.arange(len(points))
    total += float(scaled[1:-1].sum())
    if at % 50 == 0:
        stored.append(scaled.astype(numpy.float32))
print(round(total), sum(len(array) for array in stored))
