"""Marks for `heaplay record`: copy this file beside a program and call heaplay.mark("phase"). Nothing happens where
nothing is recorded."""

import ctypes

try:
    _mark = ctypes.CDLL(None).heaplay_mark
    _mark.argtypes, _mark.restype = [ctypes.c_char_p], None
except (AttributeError, OSError, TypeError):
    _mark = None


def mark(name):
    """Says that a phase of this name begins; 64 bytes of it are kept."""
    if _mark is not None:
        _mark(name.encode("utf-8", "replace"))
