"""The statistics of a trace in CSV, counted by plain loops. `heaplay inspect --json` must agree.

It shares nothing with heaplay but the terms of the trace format.
Usage: statistics.py TRACE.csv > FIGURES.json
"""

import csv
import json
import sys
from collections import Counter, defaultdict


def age_bin(age):
    """0 for 0; then four bins an octave, so that bin 1 + 4 * k + q begins at (4 + q) / 4 * 2**k."""
    if age == 0:
        return 0
    octave = age.bit_length() - 1
    return 1 + 4 * octave + (age * 4 // 2**octave - 4)


def size_class(size):
    """The upper limit of the class: multiples of 16 to 512, then powers of two."""
    if size <= 512:
        return max(16, -(-size // 16) * 16)
    limit = 1024
    while limit < size:
        limit *= 2
    return limit


def main(path):
    with open(path, newline="") as file:
        rows = [
            {
                **row,
                "event": int(row["event"]),
                "size": int(row["size"]),
                "end": int(row["event"]) + int(row["lifetime"]) if row["lifetime"] else None,
            }
            for row in csv.DictReader(file)
        ]
    begins = {row["event"]: row for row in rows}
    ends = {row["end"]: row for row in rows if row["end"] is not None}
    calls = max(max(begins, default=-1), max(ends, default=-1)) + 1

    ops, op_bytes = Counter(), Counter()
    domains = defaultdict(lambda: [0, 0, 0])
    sizes, size_bytes = Counter(), Counter()
    ages_calls, ages_bytes, survived = Counter(), Counter(), Counter()
    threads = defaultdict(lambda: [0, 0, 0])
    columns = [column for column in ("site", "type") if rows and column in rows[0]]
    named = {column: defaultdict(lambda: [0, 0, 0, 0]) for column in columns}
    clock = live = blocks = peak = peak_event = peak_blocks = next_call = 0
    for event in range(calls):
        block = ends.get(event)
        row = begins.get(event)
        if block is not None:
            live -= block["size"]
            blocks -= 1
            ages_calls[age_bin(event - block["event"])] += 1
            ages_bytes[age_bin(clock - block["clock"])] += 1
            next_call += event - block["event"] == 1
            if block.get("end_thread") and block["end_thread"] != block["thread"]:
                threads[int(block["end_thread"])][2] += 1
            if row is None:
                ops["free"] += 1
                domains[block["domain"]][2] += 1
        if row is not None:
            size = row["size"]
            clock += size
            row["clock"] = clock
            live += size
            blocks += 1
            ops[row["op"]] += 1
            op_bytes[row["op"]] += size
            domains[row["domain"]][0] += 1
            domains[row["domain"]][1] += size
            sizes[size_class(size)] += 1
            size_bytes[size_class(size)] += size
            threads[int(row["thread"])][0] += 1
            threads[int(row["thread"])][1] += size
            for column, counts in named.items():
                counts[row[column]][0] += 1
                counts[row[column]][1] += size
        peak_blocks = max(peak_blocks, blocks)
        if live > peak:
            peak, peak_event = live, event + 1
    for row in rows:
        if row["end"] is None:
            survived[age_bin(clock - row["clock"])] += 1
            for column, counts in named.items():
                counts[row[column]][2] += 1
                counts[row[column]][3] += row["size"]

    json.dump(
        {
            "calls": calls,
            "requested_bytes": clock,
            "live_peak_bytes": peak,
            "live_peak_event": peak_event,
            "live_peak_blocks": peak_blocks,
            "live_end_bytes": live,
            "survivors": blocks,
            "ended_by_next_call": next_call,
            "ops": {op: [ops[op], op_bytes[op]] for op in ("malloc", "calloc", "realloc", "free")},
            "domains": {domain: counts for domain, counts in domains.items()},
            "sizes": {str(limit): [sizes[limit], size_bytes[limit]] for limit in sizes},
            "ages_calls": {str(k): n for k, n in ages_calls.items()},
            "ages_bytes": {str(k): n for k, n in ages_bytes.items()},
            "survived": {str(k): n for k, n in survived.items()},
            "threads": {str(thread): counts for thread, counts in threads.items()},
            **{column + "s": counts for column, counts in named.items()},
        },
        sys.stdout,
    )


main(sys.argv[1])
