# Begins or ends a recording in a process that runs already. `heaplay record --attach` appends a
# call and lets the process run the file (`sys.remote_exec`). The answer is a file of its own: a
# line that says `began` or `ended` with a number, or why not.


def _heaplay(answer, library_path, base, sites, limits):
    import os
    import sys

    name = "_heaplay_attached"

    def begin():
        import ctypes

        tracemalloc = sys.modules.get("tracemalloc")
        if tracemalloc is not None and tracemalloc.is_tracing():
            return "tracemalloc would remove the recorder when it stops; stop it first"
        if hasattr(ctypes.PyDLL(None), "heaplay_record"):
            return "this process has a preloaded recorder already"
        # A library that was attached before is used again: it knows whether it records.
        library = sys.modules.get(name) or ctypes.PyDLL(os.fsdecode(library_path))
        library.heaplay_record.argtypes = [ctypes.c_char_p, ctypes.c_uint32] + [ctypes.c_uint64] * 3
        library.heaplay_record.restype = ctypes.c_char_p
        sys.modules[name] = library
        live = sys.getallocatedblocks()
        reason = library.heaplay_record(base, sites, *limits)
        return "began %d" % live if reason is None else reason.decode()

    def end():
        library = sys.modules.get(name)
        if library is None:
            return "nothing is recorded"
        library.heaplay_stop()
        return "ended 0"

    try:
        text = begin() if base else end()
    except BaseException as error:
        text = "%s: %s" % (type(error).__name__, error)
    part = answer + b".part"
    with open(part, "w") as file:
        file.write(text.replace("\n", " ") + "\n")
    os.rename(part, answer)


