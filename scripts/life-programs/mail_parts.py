"""Mails with attachments: encoded, sent, decoded and compressed, with large texts of a short life."""
import base64
import random
import zlib

random.seed(32)
archive = []
headers = []
for number in range(260):
    size = random.choice([4000, 20000, 90000, 700000])
    part = bytes(random.randrange(256) for _ in range(2000)) * (size // 2000)
    text = base64.encodebytes(part).decode()
    lines = text.splitlines()
    headers.extend("X-Line-%d: %s" % (number, line[:20]) for line in lines[::40])
    mail = "\r\n".join(lines)
    again = base64.b64decode(mail)
    assert again == part
    archive.append(zlib.compress(again, 1))
    if number % 20 == 19:
        del archive[::2]
print(len(archive), len(headers), sum(map(len, archive)))
