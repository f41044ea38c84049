"""sqlite3: a table in memory is filled, queried in groups, and read as rows."""
import random
import sqlite3

dice = random.Random(3)
database = sqlite3.connect(":memory:")
database.execute("create table events (user integer, kind text, body text, at real)")
kinds = ["view", "click", "buy", "leave"]
rows = (
    (dice.randrange(3000), dice.choice(kinds), "b" * dice.randrange(200), dice.random())
    for _ in range(60_000)
)
database.executemany("insert into events values (?, ?, ?, ?)", rows)
database.execute("create index by_user on events (user)")
total = 0
for user in range(0, 3000, 2):
    own = database.execute("select kind, body, at from events where user = ?", (user,)).fetchall()
    total += sum(len(body) for _, body, _ in own)
groups = database.execute("select user, count(*), group_concat(kind) from events group by user").fetchall()
database.execute("delete from events where at < 0.5")
print(total, len(groups), database.execute("select count(*) from events").fetchone())
