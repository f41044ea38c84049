"""Finds and runs the program `heaplay`."""

import os
import platform
import shutil
import sys
import sysconfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List, Optional

NEEDED = "64-bit Linux (x86-64 or aarch64) with glibc 2.17 or later"
# The machines that wheels are built for, by the number that an ELF file has for each (e_machine).
MACHINES = {62: "x86_64", 183: "aarch64"}
OLDEST_GLIBC = (2, 17)


def find() -> "Optional[str]":
    """The path of the program; None where there is none.

    That is the file that the variable HEAPLAY names. Without the variable, it is the file that pip
    installed with this package, or the first on the PATH.
    """
    named = os.environ.get("HEAPLAY")
    for path in [named] if named else _candidates():
        if _is_program(path):
            return path
    return None


def replace_process(arguments: "List[str]") -> None:
    """Replaces this process by the program, with these arguments. Exits where that fails."""
    program = find()
    if program is None:
        sys.exit(refusal())
    sys.stdout.flush()
    try:
        os.execv(program, [program] + arguments)
    except OSError as error:
        # A missing dynamic linker is reported as a missing program.
        text = "heaplay: %s cannot be started here (%s): %s. The program needs %s."
        sys.exit(text % (program, error.strerror, _system(), NEEDED))


def _candidates() -> "Iterator[str]":
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
    """Whether a file is the program for this machine.

    It is not where it is a script of the same name, which refuses or forwards, or where it is for
    another processor.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(20)
        is_runnable = start[:4] == b"\x7fELF" and os.access(path, os.X_OK)
    except OSError:
        return False
    built_for = MACHINES.get(int.from_bytes(start[18:20], "little"))
    return is_runnable and built_for in (None, platform.machine())


def _libc() -> str:
    """The name of the C library and its version, as far as they are known."""
    if not sys.platform.startswith("linux"):
        return ""
    # Up to Python 3.13, `libc_ver` does not know musl.
    if "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or ""):
        return "musl"
    return " ".join(platform.libc_ver()).strip()


def _system() -> str:
    """The system, the processor and the C library of this machine, and the Python."""
    python = "Python " + platform.python_version()
    bits = "" if sys.maxsize > 1 << 32 else "32-bit"
    parts = (platform.system(), platform.machine(), _libc(), bits, python)
    return ", ".join(part for part in parts if part)


def _is_supported() -> bool:
    """Whether a wheel with the program is for this machine."""
    name, _, version = _libc().partition(" ")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    is_known = sys.platform.startswith("linux") and platform.machine() in MACHINES.values()
    return is_known and sys.maxsize > 1 << 32 and name == "glibc" and numbers >= OLDEST_GLIBC


def refusal() -> str:
    """Why there is no program on this machine, and what to do next."""
    named = os.environ.get("HEAPLAY")
    if named:
        return (
            "heaplay: the variable HEAPLAY names %s, which is not the program `heaplay` for this "
            "machine (%s). Unset the variable, or let it name the program." % (named, _system())
        )
    start = "heaplay: there is no program `heaplay` for this machine (%s). " % _system()
    if _is_supported():
        return start + (
            "The wheel has it for %s, and this machine is one. `python -m pip install "
            "--force-reinstall heaplay` installs that wheel (with pip 19.3 or later). The variable "
            "HEAPLAY may name the program instead." % NEEDED
        )
    return start + (
        "The wheel has it for %s. Here, marks of the module do nothing, and nothing is recorded. "
        "Record on such a machine, or in a container of one: traces are the same everywhere. "
        "`cargo install heaplay` may build the program here; the variable HEAPLAY may name it, "
        "too." % NEEDED
    )
