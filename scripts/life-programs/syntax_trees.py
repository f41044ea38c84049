"""A small language: text to tokens, tokens to trees, trees simplified, evaluated and printed."""
import random
import re

dice = random.Random(17)
TOKEN = re.compile(r"\s*(\d+|[a-z]+|[-+*/()])")


class Number:
    def __init__(self, value):
        self.value = value


class Name:
    def __init__(self, name):
        self.name = name


class Operation:
    def __init__(self, sign, left, right):
        self.sign, self.left, self.right = sign, left, right


def written(depth):
    if depth == 0 or dice.random() < 0.15:
        return str(dice.randrange(100)) if dice.random() < 0.6 else dice.choice("abcdefgh")
    return "(%s %s %s)" % (written(depth - 1), dice.choice("+-*"), written(depth - 1))


def parsed(tokens):
    token = next(tokens)
    if token == "(":
        left, sign, right = parsed(tokens), next(tokens), parsed(tokens)
        next(tokens)
        return Operation(sign, left, right)
    return Number(int(token)) if token.isdigit() else Name(token)


def simplified(tree):
    if not isinstance(tree, Operation):
        return tree
    left, right = simplified(tree.left), simplified(tree.right)
    if isinstance(left, Number) and isinstance(right, Number):
        return Number(value(Operation(tree.sign, left, right), {}))
    return Operation(tree.sign, left, right)


def value(tree, names):
    if isinstance(tree, Number):
        return tree.value
    if isinstance(tree, Name):
        return names[tree.name]
    left, right = value(tree.left, names), value(tree.right, names)
    return {"+": left + right, "-": left - right, "*": left * right % 1000003}[tree.sign]


total, stored = 0, []
for at in range(1500):
    tree = simplified(parsed(iter(TOKEN.findall(written(8)))))
    total += value(tree, {name: number for number, name in enumerate("abcdefgh")})
    if at % 5 == 0:
        stored.append(tree)
print(total, len(stored))
