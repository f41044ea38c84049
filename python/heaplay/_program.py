"""Finds the program `heaplay`."""

import os
import platform
import shutil
import sys
import sysconfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Optional

NEEDED = "64-bit Linux (x86-64 or aarch64) with glibc 2.17 or later"


def find() -> "Optional[str]":
    """The path of the program; None where there is none.

    That is the file that the variable HEAPLAY names, the one that pip installed with this package,
    or the first on the PATH.
    """
    for path in _candidates():
        if _is_program(path):
            return path
    return None


def _candidates() -> "Iterator[str]":
    named = os.environ.get("HEAPLAY")
    if named:
        yield named
    # pip puts programs into the folder of scripts of its scheme: that of the environment, or that
    # of the user. `pip install --target DIR` puts them into DIR/bin.
    yield os.path.join(sysconfig.get_path("scripts"), "heaplay")
    user = os.name + "_user"
    if user in sysconfig.get_scheme_names():
        yield os.path.join(sysconfig.get_path("scripts", user), "heaplay")
    package = os.path.dirname(os.path.abspath(__file__))
    yield os.path.join(os.path.dirname(package), "bin", "heaplay")
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        found = shutil.which("heaplay", path=folder or os.curdir)
        if found:
            yield found


def _is_program(path: str) -> bool:
    """Whether a file is the program, and not a script of the same name that refuses or forwards."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF" and os.access(path, os.X_OK)
    except OSError:
        return False


def refusal() -> str:
    """Why there is no program on this machine, and what to do next."""
    # A C library that is not glibc reports no version here.
    libc = " ".join(platform.libc_ver()).strip() if sys.platform == "linux" else ""
    machine = " ".join(part for part in (platform.system(), platform.machine(), libc) if part)
    return (
        "heaplay: there is no program `heaplay` for this machine (%s). The wheel has it for %s. "
        "Elsewhere, marks of the module do nothing, and nothing is recorded. On such a machine: "
        "`pip install --force-reinstall heaplay`, or `cargo install heaplay`; the variable HEAPLAY "
        "may name the program." % (machine, NEEDED)
    )
