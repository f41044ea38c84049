"""Works for a while, then prints the statistics of its pools, between two requests of known sizes.

While a recorder's hooks serve the obj domain, CPython prints nothing of its pools. So this script sets
CPython's own functions for the moment of the print. Without hooks, `offsets` prints the distances of
these functions from an exported one; they are given as arguments in a recorded process. Nothing is
allocated between the two requests: arguments are made before, small integers need no memory, and calls
that were made once find their tuples on free lists.
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
    held = {}
    for number in range(30000):
        word = "word %d" % (number * 7919 % 10007)
        held.setdefault(word, []).append((number, [number] * (number % 9), {number: word}))
        if number % 3 == 0:
            held.pop("word %d" % (number * 31 % 10007), None)
    for word in list(held)[::2]:
        held[word] = len(word)
    return held


def main(places):
    pools = Table(None, *[base + place for place in places])
    stderr = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr").value
    file = ctypes.byref(ctypes.c_char.from_address(stderr))
    real, hooked = ctypes.byref(pools), ctypes.byref(hooks)
    held = work()
    for _ in range(2):
        put(2, hooked)
        show(file)
        put(2, hooked)
    before = bytes(12345677)
    put(2, real)
    show(file)
    put(2, hooked)
    after = bytes(23456777)
    return held, before, after


if sys.argv[1:] == ["offsets"]:
    print(*[getattr(hooks, name) - base for name in ("malloc", "calloc", "realloc", "free")])
else:
    main([int(place) for place in sys.argv[1:]])
