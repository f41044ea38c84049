"""Parses pages into trees of nodes with links to their parents, and compares neighbouring versions."""
import gc
import xml.dom.minidom


def page(number, version):
    rows = []
    for row in range(1100):
        text = "row %d of page %d%s" % (row, number, " (changed)" if (row + version) % 97 == 0 else "")
        cells = "".join('<td class="c%d">%s</td>' % (at, text[7 * at:7 * at + 7]) for at in range(5))
        rows.append('<tr id="r%d">%s</tr>' % (row, cells))
    return "<html><body><table>%s</table></body></html>" % "".join(rows)


def changed(one, two):
    pairs = zip(one.getElementsByTagName("td"), two.getElementsByTagName("td"))
    return sum(a.firstChild.data != b.firstChild.data for a, b in pairs if a.firstChild and b.firstChild)


def main():
    versions, total = [], 0
    for number in range(20):
        tree = xml.dom.minidom.parseString(page(number % 4, number))
        versions.append(tree)
        if len(versions) > 1:
            total += changed(versions[-2], versions[-1])
        if len(versions) > 5:
            del versions[0]
    print(total, len(versions), gc.isenabled())


main()
