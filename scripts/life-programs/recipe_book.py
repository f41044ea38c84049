"""Reads recipes into data classes, links them by what they share, and prints suggestions."""
import dataclasses
import random
from collections import defaultdict


@dataclasses.dataclass
class Part:
    name: str
    grams: int


@dataclasses.dataclass
class Recipe:
    title: str
    parts: list
    steps: tuple
    similar: list = dataclasses.field(default_factory=list)


def main():
    dice = random.Random(29)
    by_part = defaultdict(list)
    recipes = []
    for number in range(14000):
        parts = [Part("part%d" % dice.randrange(400), dice.randrange(5, 500)) for _ in range(6)]
        steps = tuple({"text": "step %d" % step, "minutes": dice.randrange(60)} for step in range(4))
        recipe = Recipe("recipe %d" % number, parts, steps)
        for part in parts:
            group = by_part[part.name]
            if group:
                other = group[dice.randrange(len(group))]
                recipe.similar.append((other, part))
                other.similar.append((recipe, part))
            group.append(recipe)
        recipes.append(recipe)
    minutes = sum(step["minutes"] for recipe in recipes for step in recipe.steps)
    print(minutes, max(len(recipe.similar) for recipe in recipes))


main()
