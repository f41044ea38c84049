"""Books the entries of many accounts, holds all of them, and reports balances by month."""
import random


class Entry:
    def __init__(self, account, day, cents, note):
        self.account, self.day, self.cents, self.note = account, day, cents, note
        self.links = []


class Account:
    def __init__(self, number):
        self.number = number
        self.entries = []
        self.owner = {"name": "owner %d" % number, "address": ["street %d" % (number % 90), number % 200]}


def main():
    dice = random.Random(7)
    accounts = [Account(number) for number in range(6000)]
    totals = {}
    for day in range(30):
        for _ in range(5000):
            account, other = dice.choice(accounts), dice.choice(accounts)
            cents = dice.randrange(100, 90000)
            sent = Entry(account, day, -cents, "to %d" % other.number)
            got = Entry(other, day, cents, "from %d" % account.number)
            sent.links.append(got)
            got.links.append(sent)
            account.entries.append(sent)
            other.entries.append(got)
        totals[day] = sum(entry.cents for account in accounts for entry in account.entries[-2:])
    balances = {account.number: sum(entry.cents for entry in account.entries) for account in accounts}
    print(sum(balances.values()), totals[29], len(balances))


main()
