"""dataclasses and generators: customers of a shop are simulated as processes on a queue of events."""
import collections
import dataclasses
import heapq
import itertools
import random


@dataclasses.dataclass(order=True)
class Event:
    time: float
    number: int
    process: object = dataclasses.field(compare=False)


dice, count = random.Random(23), itertools.count()
queue, waiting, log = [], collections.deque(), collections.Counter()
free_tills = 5


def customer(name):
    global free_tills
    yield dice.expovariate(0.05)
    basket = ["item-%d" % dice.randrange(900) for _ in range(dice.randrange(1, 20))]
    yield 0.3 * len(basket)
    while not free_tills:
        waiting.append(name)
        yield 1.0
        waiting.popleft()
    free_tills -= 1
    yield 0.1 * len(basket)
    free_tills += 1
    log.update(basket)


for number in range(2500):
    heapq.heappush(queue, Event(number * 0.4, next(count), customer("customer %d" % number)))
while queue:
    event = heapq.heappop(queue)
    delay = next(event.process, None)
    if delay is not None:
        heapq.heappush(queue, Event(event.time + delay, next(count), event.process))
print(len(log), sum(log.values()))
