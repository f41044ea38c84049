"""A site of pages: templates are filled from records, pages are stored until the next edition."""
import html
import random
import string

dice = random.Random(61)
HEAD = string.Template("<html><head><title>$title</title></head><body>$body</body></html>")
ROW = string.Template("<li><a href='/$slug'>$name</a> <i>$note</i></li>")


def word():
    return "".join(dice.choices(string.ascii_lowercase, k=dice.randint(3, 11)))


records = [{"slug": word(), "name": word() + " & " + word(), "note": word()} for _ in range(900)]
editions, size = [], 0
for edition in range(90):
    pages = {}
    for first in range(0, len(records), 30):
        rows = []
        for record in records[first:first + 30]:
            safe = {key: html.escape(value) for key, value in record.items()}
            rows.append(ROW.substitute(safe))
        pages["page-%d" % first] = HEAD.substitute(title=word(), body="\n".join(rows))
    editions.append(pages)
    size += sum(map(len, pages.values()))
    if len(editions) > 12:
        editions.pop(0)
    for _ in range(60):
        records[dice.randrange(len(records))]["note"] = word() + " " + word()
print(len(editions), size)
