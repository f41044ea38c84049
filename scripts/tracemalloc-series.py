#!/usr/bin/env python3
"""Runs a program and dumps tracemalloc snapshots of it, for `heaplay import`.

It dumps one every SECONDS, and one at the end of the program:

    python scripts/tracemalloc-series.py app- 2 app.py --its arguments
    heaplay import app-*.snapshot -o app.trace

Or copy the ten lines below into a program, and call dump() wherever a phase ends. Python 3.6 and
later.
"""

import itertools, tracemalloc

numbers = itertools.count()


def dump(prefix="app-"):
    """The blocks that are live now, less those of tracemalloc's own."""
    own = tracemalloc.Filter(False, tracemalloc.__file__)
    snapshot = tracemalloc.take_snapshot().filter_traces([own])
    snapshot.dump("%s%05d.snapshot" % (prefix, next(numbers)))


def every(seconds, prefix="app-"):
    """Dumps from a thread of its own. Returns a function that ends this and dumps a last time."""
    import threading
    stop = threading.Event()
    def loop():
        while not stop.wait(seconds):
            dump(prefix)
    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    def end():
        stop.set()
        thread.join()
        dump(prefix)
    return end


if __name__ == "__main__":
    import runpy, sys
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    prefix, seconds, program = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    del sys.argv[:3]
    tracemalloc.start()
    end = every(seconds, prefix)
    try:
        runpy.run_path(program, run_name="__main__")
    finally:
        end()
