"""lxml: documents are built, searched and written; every fourth tree stays."""
from lxml import etree

held, found = [], 0
for number in range(24):
    root = etree.Element("list")
    for item in range(3000):
        node = etree.SubElement(root, "item", id=str(item))
        etree.SubElement(node, "name").text = "name %d" % (item % 97)
        etree.SubElement(node, "price").text = str(item * number % 1000)
    text = etree.tostring(root)
    again = etree.fromstring(text)
    found += len(again.xpath("//item[price > 500]/name"))
    if number % 4 == 0:
        held.append(again)
print(found, len(held))
