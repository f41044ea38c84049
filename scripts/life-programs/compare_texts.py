"""difflib: versions of a text are compared line by line and word by word, and the changes collected."""
import difflib
import random

dice = random.Random(72)
words = ["word%d" % number for number in range(500)]
text = [" ".join(dice.choices(words, k=9)) for _ in range(160)]
changes, history = 0, []
for version in range(80):
    new = list(text)
    for _ in range(14):
        at = dice.randrange(len(new))
        choice = dice.random()
        if choice < 0.3:
            del new[at]
        elif choice < 0.6:
            new.insert(at, " ".join(dice.choices(words, k=9)))
        else:
            parts = new[at].split(" ")
            parts[dice.randrange(len(parts))] = dice.choice(words)
            new[at] = " ".join(parts)
    history.append(list(difflib.unified_diff(text, new, n=2)))
    for left, right in zip(text, new):
        if left != right:
            matcher = difflib.SequenceMatcher(None, left.split(" "), right.split(" "))
            changes += sum(1 for code in matcher.get_opcodes() if code[0] != "equal")
    text = new
print(changes, sum(map(len, history)))
