"""Marks for `heaplay record`, and recordings of a part of a program from inside it.

    import heaplay
    heaplay.mark("load")    # names a phase; does nothing where nothing is recorded

    with heaplay.record("part.trace", sites=1):    # records this block of code
        serve()

`python -m heaplay VERB …` runs the program `heaplay`, with this interpreter for Python files.
`python -m heaplay.late` records a whole program from inside, as CPython 3.6 needs it.

`pip install heaplay` has the package with the program. `heaplay recorder DIR` writes the package
and the recorder's library into a folder, for a container. Marks work on every system; recording
needs 64-bit Linux with glibc, and CPython 3.6 or later. A recording does not have blocks from
before its start: their frees are counted in the trace, and left out.
"""

import contextlib
import ctypes
import os
import sys
import time

# What a recorded program imports is in its trace. So further modules are imported where needed.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional, Union

__all__ = ["mark", "record"]


def _declare(library: "Any") -> "Any":
    library.heaplay_mark.argtypes, library.heaplay_mark.restype = [ctypes.c_char_p], None
    limits = [ctypes.c_uint64] * 3
    library.heaplay_record.argtypes = [ctypes.c_char_p, ctypes.c_uint32] + limits
    library.heaplay_record.restype = ctypes.c_char_p
    library.heaplay_stop.argtypes, library.heaplay_stop.restype = [], ctypes.c_char_p
    return library


def _open(path: "Optional[str]") -> "Any":
    """The recorder in this process. PyDLL holds the GIL, so no thread allocates meanwhile."""
    return _declare(ctypes.PyDLL(path))


try:
    _recorder = _open(None)
except (AttributeError, OSError, TypeError):
    _recorder = None


def mark(name: str) -> None:
    """Marks that a phase of this name begins. A name has at most 64 bytes; the rest is cut off."""
    if _recorder is not None:
        _recorder.heaplay_mark(name.encode("utf-8", "replace"))


@contextlib.contextmanager
def record(
    output: "Union[str, os.PathLike[str]]",
    sites: int = 0,
    max_events: "Optional[int]" = None,
    max_bytes: "Optional[int]" = None,
    duration: "Optional[float]" = None,
) -> "Iterator[None]":
    """Records what this process allocates inside the `with` block as the trace `output`.

    `sites` is the number of frames of Python source to record with each call, 0 for none. The
    recording ends early after `max_events` calls, before its raw log grows past `max_bytes`, or
    after `duration` seconds. Raises RuntimeError where a recording cannot be made.
    """
    global _recorder
    trace = os.path.abspath(os.fspath(output))
    folder = os.path.dirname(trace)
    if not os.path.isdir(folder):
        raise RuntimeError("%s: nothing is recorded: there is no folder %s" % (trace, folder))
    if _recorder is None:
        _recorder = _load(folder)
    if sys.modules.get("tracemalloc") is not None and sys.modules["tracemalloc"].is_tracing():
        raise RuntimeError("tracemalloc would remove the recorder when it stops; stop it first")
    base = os.fsencode("%s.raw-%x" % (trace, int(time.time() * 1000)))
    limits = [int(limit or 0) for limit in (max_events, max_bytes, (duration or 0) * 1e9)]
    reason = _recorder.heaplay_record(base, int(sites), *limits)
    if reason is not None:
        raise RuntimeError("%s: nothing is recorded: %s" % (trace, reason.decode()))
    try:
        yield
    finally:
        _finish(os.fsdecode(_recorder.heaplay_stop()), trace)


def _load(output: str) -> "Any":
    """Loads the recorder: the file that HEAPLAY_RECORDER names, or that lies beside the package, or
    that the program `heaplay` writes. The file is temporary. It lies in the folder `output` where
    the mount of the temporary directory forbids execution."""
    import shutil
    import subprocess
    import tempfile

    from heaplay import _program

    beside = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.environ.get("HEAPLAY_RECORDER", os.path.join(beside, "heaplay-recorder.so"))
    try:
        if os.path.exists(path):
            return _open(path)
        program = _program.find()
        if "HEAPLAY_RECORDER" in os.environ:
            text = "%s: not found; `heaplay recorder DIR` writes it, HEAPLAY_RECORDER names it"
            raise RuntimeError(text % path)
        if program is None:
            text = "%s `heaplay recorder DIR` writes the recorder elsewhere; HEAPLAY_RECORDER names it"
            raise RuntimeError(text % _program.refusal())
        is_loadable = not os.statvfs(tempfile.gettempdir()).f_flag & os.ST_NOEXEC
        folder = tempfile.mkdtemp(prefix="heaplay-", dir=None if is_loadable else output)
        try:
            command = [program, "recorder", folder]
            written = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            if written.returncode != 0:
                raise RuntimeError(written.stderr.decode("utf-8", "replace").strip())
            return _open(os.path.join(folder, "heaplay-recorder.so"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise RuntimeError(
            "the recorder cannot be loaded (%s); it needs %s" % (error, _program.NEEDED)
        ) from error


def _finish(raw: str, trace: str) -> None:
    """Makes the trace where the program `heaplay` is found. Else prints the command."""
    import subprocess

    from heaplay import _program

    program = _program.find()
    arguments = ["record", "--recover", raw, "-o", trace]
    try:
        if program is not None and subprocess.call([program] + arguments) == 0:
            os.remove(raw)
            return
    except OSError as error:
        print("heaplay: %s cannot be started: %s" % (program, error.strerror), file=sys.stderr)
    text = "heaplay: %s is a raw log; `heaplay %s` makes a trace of it"
    print(text % (raw, " ".join(arguments)), file=sys.stderr)
