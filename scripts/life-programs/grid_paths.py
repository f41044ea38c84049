"""Pure Python: shortest paths on grids with a heap of tuples; each grid's path stays."""
import heapq
import random

dice = random.Random(21)
paths = []
for number in range(6):
    side = 50 + 10 * (number % 3)
    cost = [[dice.random() for _ in range(side)] for _ in range(side)]
    best, before, todo = {(0, 0): 0.0}, {}, [(0.0, (0, 0))]
    while todo:
        sum_so_far, (row, column) = heapq.heappop(todo)
        if sum_so_far > best[row, column]:
            continue
        for place in ((row + 1, column), (row, column + 1), (row - 1, column), (row, column - 1)):
            if 0 <= place[0] < side and 0 <= place[1] < side:
                found = sum_so_far + cost[place[0]][place[1]]
                if found < best.get(place, 1e9):
                    best[place], before[place] = found, (row, column)
                    heapq.heappush(todo, (found, place))
    at, path = (side - 1, side - 1), []
    while at in before:
        path.append(at)
        at = before[at]
    paths.append(path)
print(len(paths), sum(len(path) for path in paths))
