"""A relay of threads: each takes messages from a queue, rewrites them and hands them on."""
import queue
import random
import threading

dice = random.Random(37)
stages = [queue.Queue(maxsize=64) for _ in range(4)]
finished = []


def work(number):
    while True:
        message = stages[number].get()
        last = number + 1 == len(stages)
        if message is None:
            if not last:
                stages[number + 1].put(None)
            return
        message = {**message, "stage": number, "path": message["path"] + [number]}
        message["text"] = " ".join(reversed(message["text"].split()))
        if last:
            finished.append(len(message["text"]))
        else:
            stages[number + 1].put(message)


threads = [threading.Thread(target=work, args=(number,)) for number in range(len(stages))]
for thread in threads:
    thread.start()
for at in range(8_000):
    words = ["word%d" % dice.randrange(900) for _ in range(dice.randint(3, 30))]
    stages[0].put({"number": at, "path": [], "text": " ".join(words)})
stages[0].put(None)
for thread in threads:
    thread.join()
print(len(finished), sum(finished))
