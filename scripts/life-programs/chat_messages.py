"""Users post to channels, each message holds its author and its answers, and old messages are dropped."""
import random


class Message:
    __slots__ = ("author", "text", "answers", "above")

    def __init__(self, author, text, above):
        self.author, self.text, self.above = author, text, above
        self.answers = []


class User:
    def __init__(self, name):
        self.name = name
        self.sent = []
        self.settings = {"language": "en", "limits": [10, 20, len(name)]}


def main():
    dice = random.Random(11)
    users = [User("user%d" % number) for number in range(2000)]
    channels = [[] for _ in range(40)]
    counted = 0
    for step in range(260000):
        user, channel = users[dice.randrange(2000)], channels[dice.randrange(40)]
        above = channel[dice.randrange(len(channel))] if channel and step % 3 else None
        message = Message(user, "text %d of %s" % (step, user.name), above)
        if above is not None:
            above.answers.append(message)
        channel.append(message)
        user.sent.append(message)
        if len(channel) > 3000:
            counted += sum(len(old.answers) for old in channel[:1000])
            del channel[:1000]
        if len(user.sent) > 60:
            del user.sent[:30]
    print(counted, sum(len(user.sent) for user in users))


main()
