"""Tables rendered to pages: an io.StringIO that grows, its value, and a page that is split again."""
import io
import random

random.seed(33)
index = {}
for page in range(30):
    out = io.StringIO()
    for row in range(4000 if page % 7 else 15000):
        cells = [str(random.randrange(10**6)) for _ in range(4)]
        out.write("<tr><td>" + "</td><td>".join(cells) + "</td></tr>\n")
    text = "<table>\n" + out.getvalue() + "</table>\n"
    parts = text.split("</td><td>")
    index[page] = [part for part in parts if part.endswith("7")][:600]
    del out, parts
print(sum(map(len, index.values())))
