"""Works for a while, then prints what its own pools hold, between two requests that a trace can be searched for.

While a recorder's hooks serve the obj domain, CPython prints nothing of its pools, so its own functions are put back for
the moment of the print. Where they are is learnt from a process without hooks: `offsets` prints their distances from an
exported function, which are given as arguments then. Nothing is allocated between the two requests: arguments are made
before, small integers are passed as they are, and calls that were made once find their tuples on free lists.
"""

import ctypes
import sys


class Table(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free")]


get, put = ctypes.pythonapi.PyMem_GetAllocator, ctypes.pythonapi.PyMem_SetAllocator
show = ctypes.pythonapi._PyObject_DebugMallocStats
get.restype = put.restype = show.restype = None
base = ctypes.cast(get, ctypes.c_void_p).value
hooks = Table()
get(2, ctypes.byref(hooks))


def work():
    kept = {}
    for number in range(30000):
        word = "word %d" % (number * 7919 % 10007)
        kept.setdefault(word, []).append((number, [number] * (number % 9), {number: word}))
        if number % 3 == 0:
            kept.pop("word %d" % (number * 31 % 10007), None)
    for word in list(kept)[::2]:
        kept[word] = len(word)
    return kept


def main(places):
    pools = Table(None, *[base + place for place in places])
    stderr = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr").value
    file = ctypes.byref(ctypes.c_char.from_address(stderr))
    real, hooked = ctypes.byref(pools), ctypes.byref(hooks)
    kept = work()
    for _ in range(2):
        put(2, hooked)
        show(file)
        put(2, hooked)
    before = bytes(12345677)
    put(2, real)
    show(file)
    put(2, hooked)
    after = bytes(23456777)
    return kept, before, after


if sys.argv[1:] == ["offsets"]:
    print(*[getattr(hooks, name) - base for name in ("malloc", "calloc", "realloc", "free")])
else:
    main([int(place) for place in sys.argv[1:]])
