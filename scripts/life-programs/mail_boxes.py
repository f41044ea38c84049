"""Mail: messages with parts are built, written, parsed again and sorted into boxes by sender."""
import email
import email.message
import email.policy
import random

dice = random.Random(73)
boxes = {}
for number in range(260):
    message = email.message.EmailMessage()
    sender = "sender%d@example.org" % dice.randrange(30)
    message["From"] = sender
    message["To"] = "all@example.org"
    message["Subject"] = "Report %d of the month, with a rather long title" % number
    message.set_content("\n".join("line %d of the text" % line for line in range(dice.randrange(5, 40))))
    if number % 4 == 0:
        message.add_attachment("a,b\n%d,%d\n" % (number, number), subtype="csv", filename="table.csv")
    again = email.message_from_bytes(message.as_bytes(), policy=email.policy.default)
    boxes.setdefault(again["From"], []).append((again["Subject"], len(again.as_bytes())))
    if len(boxes[sender]) > 8:
        boxes[sender] = boxes[sender][4:]
print(len(boxes), sum(size for box in boxes.values() for _, size in box))
