"""A small language: source text is split to tokens, parsed to nested tuples and evaluated."""
import collections
import random
import re

dice = random.Random(66)
Token = collections.namedtuple("Token", "kind text place")
PATTERN = re.compile(r"(?P<number>\d+)|(?P<name>[a-z]+)|(?P<sign>[-+*()=;])|(?P<space>\s+)")


def source(statements):
    lines = []
    for _ in range(statements):
        left = "".join(dice.choices("abcdefgh", k=3))
        right = " + ".join("(%d * %s)" % (dice.randint(1, 9999), dice.choice("xyz")) for _ in range(4))
        lines.append("%s = %s ;" % (left, right))
    return "\n".join(lines)


def tokens(text):
    for match in PATTERN.finditer(text):
        if match.lastgroup != "space":
            yield Token(match.lastgroup, match.group(), match.start())


def parse(stream):
    stack = [[]]
    for token in stream:
        if token.text == "(":
            stack.append([])
        elif token.text == ")":
            inner = tuple(stack.pop())
            stack[-1].append(inner)
        else:
            stack[-1].append(token)
    return stack[0]


units, leaves = collections.deque(maxlen=5), 0
for unit in range(36):
    tree = parse(tokens(source(420)))
    leaves += sum(isinstance(node, Token) or len(node) for node in tree)
    units.append(tree)
print(len(units), leaves)
