"""Builds generations of persons who refer to their parents and children, and asks who descends from whom."""
import random


class Person:
    def __init__(self, name, born, parents):
        self.name, self.born, self.parents = name, born, parents
        self.children = []
        self.events = [("born", born)]


def generation(dice, parents, year, size):
    made = []
    for number in range(size):
        pair = dice.sample(parents, 2) if parents else []
        person = Person("p%d-%d" % (year, number), year + dice.randrange(25), pair)
        for parent in pair:
            parent.children.append(person)
            parent.events.append(("child", person.born))
        made.append(person)
    return made


def descendants(person, seen):
    waiting = [person]
    while waiting:
        for child in waiting.pop().children:
            if child.name not in seen:
                seen[child.name] = child
                waiting.append(child)
    return seen


def main():
    dice = random.Random(21)
    years, people = [], []
    for step in range(24):
        people = generation(dice, people, 1400 + 25 * step, 2600)
        years.append(people)
    found = [len(descendants(person, {})) for person in years[16][:60]]
    print(len(years), sum(found), max(len(p.events) for p in years[3]))


main()
