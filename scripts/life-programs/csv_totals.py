"""csv and decimal: a ledger is written as text, parsed, summed by account, and sorted."""
import csv
import decimal
import io
import random

dice = random.Random(22)
totals, latest = {}, []
for month in range(8):
    text = io.StringIO()
    writer = csv.writer(text)
    for number in range(2500):
        cents = dice.randrange(-500_000, 500_000)
        amount = "%d.%02d" % divmod(abs(cents), 100)
        writer.writerow(["account-%d" % dice.randrange(400), amount, "note " * dice.randrange(6)])
    text.seek(0)
    rows = [(account, decimal.Decimal(amount), note.strip()) for account, amount, note in csv.reader(text)]
    for account, amount, note in rows:
        totals[account] = totals.get(account, decimal.Decimal()) + amount
    rows.sort(key=lambda row: row[1])
    latest = latest[-5000:] + rows[::2]
print(len(totals), len(latest), sum(totals.values()))
