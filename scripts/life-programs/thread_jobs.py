"""Threads: six workers decode records and hand every eighth result to the main thread, which keeps it."""
import json
import queue
import threading

jobs, results = queue.Queue(), queue.Queue()


def work():
    while (job := jobs.get()) is not None:
        numbers = range(job, job + 1200)
        records = ({"id": n, "tags": [str(n % 7)] * (n % 9), "body": "z" * (n % 500)} for n in numbers)
        rows = [json.dumps(record) for record in records]
        decoded = [json.loads(row) for row in rows]
        results.put(decoded[::8])


threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
for number in range(90):
    jobs.put(number * 1200)
held = [results.get() for _ in range(90)]
for _ in threads:
    jobs.put(None)
for thread in threads:
    thread.join()
print(len(held), sum(len(batch) for batch in held))
