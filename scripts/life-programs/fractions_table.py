"""Exact arithmetic: sums of fractions whose numerators and denominators grow beyond machine words."""
from fractions import Fraction
import random

dice = random.Random(63)
rows, digits = [], 0
for row in range(900):
    total, cells = Fraction(0), []
    for _ in range(45):
        total += Fraction(dice.randint(1, 999), dice.randint(1, 97) * 7 + 1)
        cells.append(total * dice.randint(2, 9))
    rows.append(cells)
    digits += len(str(total.numerator)) + len(str(total.denominator))
    if len(rows) > 100:
        rows.pop(0)
print(len(rows), digits)
