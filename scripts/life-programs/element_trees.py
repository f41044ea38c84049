"""Documents as trees of elements of the standard library: built, written, parsed, changed."""
import random
import xml.etree.ElementTree as ElementTree

dice = random.Random(64)


def document(orders):
    root = ElementTree.Element("orders", day=str(dice.randint(1, 365)))
    for number in range(orders):
        order = ElementTree.SubElement(root, "order", id=str(number), state=dice.choice("abcd"))
        for item in range(dice.randint(1, 6)):
            line = ElementTree.SubElement(order, "item", sku="S%05d" % dice.randrange(40000))
            line.text = "%d pieces" % dice.randint(1, 40)
            line.tail = "\n"
    return ElementTree.tostring(root)


stored, count = [], 0
for day in range(50):
    root = ElementTree.fromstring(document(350))
    for order in root.findall("order"):
        if order.get("state") == "a":
            root.remove(order)
        else:
            count += sum(int(item.text.split()[0]) for item in order.iter("item"))
    stored.append(root)
    if len(stored) > 8:
        stored.pop(0)
print(len(stored), count)
