"""Marks for `heaplay record`, and recordings of a part of a program from inside it.

For CPython 3.6 and later, on Linux.

    import heaplay
    heaplay.mark("load")    # names a phase; does nothing where nothing is recorded

    with heaplay.record("part.trace", sites=1):    # records this block of code
        serve()

    python -m heaplay -o app.trace app.py ARGS     # records a program, loaded late

The last form is the only way on CPython 3.6. Recording needs heaplay-recorder.so beside this file;
`heaplay recorder DIR` writes both into a folder. A recording does not have blocks from before its
start: their frees are counted in the trace, and left out.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import time


def _open(path):
    """The recorder in this process. PyDLL holds the GIL, so no thread allocates meanwhile."""
    library = ctypes.PyDLL(path)
    library.heaplay_mark.argtypes, library.heaplay_mark.restype = [ctypes.c_char_p], None
    limits = [ctypes.c_uint64] * 3
    library.heaplay_record.argtypes = [ctypes.c_char_p, ctypes.c_uint32] + limits
    library.heaplay_record.restype = ctypes.c_char_p
    library.heaplay_stop.argtypes, library.heaplay_stop.restype = [], ctypes.c_char_p
    return library


try:
    _recorder = _open(None)
except (AttributeError, OSError, TypeError):
    _recorder = None


def mark(name):
    """Marks that a phase of this name begins. A name has at most 64 bytes; the rest is cut off."""
    if _recorder is not None:
        _recorder.heaplay_mark(name.encode("utf-8", "replace"))


@contextlib.contextmanager
def record(output, sites=0, max_events=None, max_bytes=None, duration=None):
    """Records what this process allocates inside the `with` block as the trace `output`.

    `sites` is the number of frames of Python source to record with each call, 0 for none. The
    recording ends early after `max_events` calls, before its raw log grows past `max_bytes`, or
    after `duration` seconds. Raises RuntimeError where a recording cannot be made.
    """
    global _recorder
    if _recorder is None:
        beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "heaplay-recorder.so")
        path = os.environ.get("HEAPLAY_RECORDER", beside)
        if not os.path.exists(path):
            raise RuntimeError(
                "%s: not found; `heaplay recorder DIR` writes it, HEAPLAY_RECORDER names it" % path
            )
        _recorder = _open(path)
    if sys.modules.get("tracemalloc") is not None and sys.modules["tracemalloc"].is_tracing():
        raise RuntimeError("tracemalloc would remove the recorder when it stops; stop it first")
    output = os.path.abspath(os.fspath(output))
    base = os.fsencode("%s.raw-%x" % (output, int(time.time() * 1000)))
    limits = [int(limit or 0) for limit in (max_events, max_bytes, (duration or 0) * 1e9)]
    reason = _recorder.heaplay_record(base, int(sites), *limits)
    if reason is not None:
        raise RuntimeError("nothing is recorded: " + reason.decode())
    try:
        yield
    finally:
        _finish(os.fsdecode(_recorder.heaplay_stop()), output)


def _finish(raw, output):
    """Makes the trace where heaplay is installed (or HEAPLAY names it). Else prints the command."""
    binary = os.environ.get("HEAPLAY") or shutil.which("heaplay")
    arguments = ["record", "--recover", raw, "-o", output]
    if binary is None:
        text = "heaplay: %s is a raw log; `heaplay %s` makes a trace of it"
        print(text % (raw, " ".join(arguments)), file=sys.stderr)
    elif subprocess.call([binary] + arguments) == 0:
        os.remove(raw)


def _main():
    import argparse
    import runpy

    parser = argparse.ArgumentParser(
        prog="heaplay.py", description="Records a Python program, loaded late."
    )
    parser.add_argument("-o", "--output", required=True, help="the trace to write")
    parser.add_argument(
        "--sites", type=int, default=0, help="frames of Python source with each call"
    )
    parser.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module")
    parser.add_argument("program")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    wanted = parser.parse_args()
    sys.argv = [wanted.program] + wanted.arguments
    # As the interpreter itself does: the program's folder comes first, in the place of this file's.
    sys.path[0] = os.getcwd() if wanted.module else os.path.dirname(os.path.abspath(wanted.program))
    with record(wanted.output, wanted.sites):
        if wanted.module:
            runpy.run_module(wanted.program, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(wanted.program, run_name="__main__")


if __name__ == "__main__":
    _main()
