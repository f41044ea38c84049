"""Feeds: documents of elements are built, written as text, parsed and searched."""
import random
import xml.etree.ElementTree as tree

dice = random.Random(31)


def feed(entries):
    root = tree.Element("feed", version="1")
    for number in range(entries):
        entry = tree.SubElement(root, "entry", id=str(number), kind=dice.choice(["note", "post", "link"]))
        tree.SubElement(entry, "title").text = "title " * dice.randint(1, 6)
        tree.SubElement(entry, "author").text = "author-%d" % dice.randrange(300)
        body = tree.SubElement(entry, "body")
        for _ in range(dice.randint(0, 5)):
            tree.SubElement(body, "p").text = "words and words " * dice.randint(1, 12)
    return root


texts, found = [], 0
for at in range(50):
    text = tree.tostring(feed(400))
    parsed = tree.fromstring(text)
    found += sum(1 for entry in parsed.iter("entry") if entry.get("kind") == "post")
    found += len(parsed.findall("entry/body/p"))
    if at % 4 == 0:
        texts.append(text)
print(found, sum(map(len, texts)))
