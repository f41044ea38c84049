"""Passes small messages through subscribers that wrap them, and counts by topic; few survive."""
import collections
import random


class Message:
    __slots__ = ("topic", "body", "trace")

    def __init__(self, topic, body, trace):
        self.topic, self.body, self.trace = topic, body, trace


def subscriber(name):
    def handle(message):
        return Message(message.topic, {"from": name, "of": message.body}, message.trace + [name])
    return handle


def main():
    dice = random.Random(4)
    chain = [subscriber("s%d" % number) for number in range(5)]
    counts, survivors = collections.Counter(), []
    for number in range(150000):
        message = Message("t%d" % dice.randrange(50), {"number": number}, [])
        for handle in chain:
            message = handle(message)
        counts[message.topic] += len(message.trace)
        if number % 20 == 0:
            survivors.append(message)
    print(sum(counts.values()), len(survivors))


main()
