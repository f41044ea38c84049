"""Money: decimals and fractions are summed, rounded and grouped by account."""
import random
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

dice = random.Random(29)
CENT = Decimal("0.01")
accounts = {}
for _ in range(200_000):
    amount = Decimal(dice.randrange(-500_000, 900_000)) / Decimal(97)
    account = accounts.setdefault(dice.randrange(2_000), [])
    account.append(amount.quantize(CENT, ROUND_HALF_EVEN))
    if len(account) > 60:
        account[:] = [sum(account[:30], Decimal(0))] + account[30:]
shares = {}
for number, amounts in accounts.items():
    shares[number] = Fraction(int(sum(amounts) * 100), 1 + number)
largest = sorted(shares.items(), key=lambda pair: pair[1], reverse=True)[:5]
print([number for number, _ in largest], sum(len(amounts) for amounts in accounts.values()))
