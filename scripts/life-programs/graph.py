"""Pure Python: a graph of dictionaries and sets grows, is searched, and is half deleted."""
import random
from collections import deque

dice = random.Random(11)


class Node:
    def __init__(self, name):
        self.name, self.edges, self.marks = name, set(), {}


nodes = {}
for number in range(25_000):
    node = nodes[number] = Node("node-%d" % number)
    for _ in range(4):
        other = nodes[dice.randrange(number + 1)]
        node.edges.add(other.name)
        other.edges.add(node.name)

by_name = {node.name: node for node in nodes.values()}
reached = 0
for start in range(0, 25_000, 5_000):
    seen, todo = {nodes[start].name}, deque([nodes[start].name])
    while todo:
        name = todo.popleft()
        for edge in by_name[name].edges:
            if edge not in seen:
                seen.add(edge)
                todo.append(edge)
                by_name[edge].marks[start] = len(seen)
    reached += len(seen)
for number in dice.sample(range(25_000), 12_000):
    del by_name[nodes.pop(number).name]
print(reached, len(nodes), sum(len(node.marks) for node in nodes.values()))
