"""The objects that this interpreter retains after they are freed, found by experiment.

Many objects of a type are made and dropped. sys.getallocatedblocks() shows how many of their blocks
did not go back to the allocator. Prints JSON: {"label": [type name, bytes, objects retained]}. Bytes
are those of sys.getsizeof, which includes the collector's header. Runs on every CPython from 3.6 on,
without heaplay.
"""

import gc
import json
import sys
import warnings

warnings.simplefilter("ignore")
gc.disable()
MADE = 2600
hold = [None] * MADE
found = {}


def retained(make, blocks):
    """Of MADE objects with `blocks` each: the blocks that the interpreter retains."""
    gc.collect()
    for at in range(MADE):
        hold[at] = make(at)
    at = None
    live = sys.getallocatedblocks()
    for at in range(MADE):
        hold[at] = None
    at = None
    return MADE * blocks - (live - sys.getallocatedblocks())


def measure(label, make, size=None, blocks=1, name=None, less=0):
    retained(make, blocks)  # the first time has effects that do not repeat
    one = make(0)
    count = retained(make, blocks) - less - of_no_list
    found[label] = [name or type(one).__name__, sys.getsizeof(one) if size is None else size, count]


# Blocks of the experiment: no list retains plain objects.
retained(lambda at: object(), 1)
of_no_list = retained(lambda at: object(), 1)
measure("float", lambda at: at + 0.5)
for length in range(1, 24):
    measure("tuple of %d" % length, lambda at, items=[None] * length: tuple(items))
measure("list", lambda at: [])
dict_bytes = object.__sizeof__({}) + sys.getsizeof([]) - object.__sizeof__([])
keys_bytes = sys.getsizeof({"a": None}) - dict_bytes
# Until 3.7 an empty dict has keys of its own.
of_its_own = sys.version_info < (3, 8)
blocks, less = (2, 80) if of_its_own else (1, 0)
measure("dict", lambda at: {}, size=dict_bytes, blocks=blocks, less=less)
measure("dict keys", lambda at: {"a": None}, size=keys_bytes, blocks=2, name="dict keys", less=80)
measure("slice", lambda at: slice(None))
measure("int", lambda at: 70000 + at)
measure("str", lambda at: "%dabc" % at)
measure("object", lambda at: object())
items = []
measure("builtin_function_or_method", lambda at: items.append)
measure("list_iterator", lambda at: iter(items))
measure("tuple_iterator", lambda at: iter(()))
measure("range", lambda at: range(3))
measure("range_iterator", lambda at: iter(range(3)))


class Class:
    def method(self):
        pass


instance = Class()
measure("method", lambda at: instance.method)


def generator():
    yield


# A generator object and its frame, which is in the same block from 3.11 on. One frame stays with the
# code.
if sys.version_info < (3, 11):
    measure("frame", lambda at: generator(), size=0, blocks=2, name="frame", less=1)


async def asynchronous():
    yield


values = asynchronous()
measure("async_generator_asend", lambda at: values.asend(None))
if sys.version_info >= (3, 7):
    import contextvars

    measure("Context", lambda at: contextvars.copy_context())
try:
    import asyncio

    future = asyncio.new_event_loop().create_future()
    measure("FutureIter", lambda at: future.__await__())
except ImportError:
    pass
json.dump(found, sys.stdout)
