"""A cache of sessions: created, read, extended and expired, the oldest first."""
import random
from collections import OrderedDict

dice = random.Random(23)


class Session:
    __slots__ = ("user", "items", "visits", "token")

    def __init__(self, user):
        self.user = user
        self.items = {}
        self.visits = []
        self.token = "%032x" % dice.getrandbits(128)


sessions = OrderedDict()
expired = 0
for tick in range(300_000):
    user = int(dice.paretovariate(0.9)) % 40_000
    session = sessions.pop(user, None) or Session(user)
    sessions[user] = session
    session.visits.append((tick, dice.random()))
    if dice.random() < 0.3:
        session.items["item-%d" % dice.randrange(500)] = dice.randrange(1, 9)
    if len(session.visits) > 40:
        del session.visits[:20]
    while len(sessions) > 1_500:
        sessions.popitem(last=False)
        expired += 1
print(expired, sum(len(session.items) for session in sessions.values()))
