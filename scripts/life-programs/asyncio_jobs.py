"""Asyncio: 400 clients send messages through queues to workers, which answer by futures."""
import asyncio
import random


async def worker(queue, cache):
    while True:
        key, answer = await queue.get()
        value = cache.get(key)
        if value is None:
            value = cache[key] = {"key": key, "body": "x" * (key % 300 + 40)}
            if len(cache) > 4000:
                cache.pop(next(iter(cache)))
        await asyncio.sleep(0)
        answer.set_result((key, len(value["body"])))


async def client(queue, seed, sums):
    dice = random.Random(seed)
    for _ in range(120):
        answer = asyncio.get_running_loop().create_future()
        await queue.put((dice.randrange(9000), answer))
        key, length = await answer
        sums.append(key + length)


async def main():
    queue, cache, sums = asyncio.Queue(50), {}, []
    workers = [asyncio.create_task(worker(queue, cache)) for _ in range(8)]
    await asyncio.gather(*(client(queue, seed, sums) for seed in range(400)))
    for task in workers:
        task.cancel()
    print(sum(sums), len(cache))


asyncio.run(main())
