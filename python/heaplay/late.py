"""Records a Python program from inside it, with the recorder loaded late.

    python -m heaplay.late -o app.trace app.py ARGUMENTS

This is the only way on CPython 3.6. On later versions `heaplay record` sees more: every block from
the first on, and the calls of the C library.
"""

import argparse
import contextlib
import os
import runpy
import sys

import heaplay


def main() -> None:
    """Runs the program that the command line names, and records it."""
    parser = argparse.ArgumentParser(
        prog="heaplay.late", description="Records a Python program, with the recorder loaded late."
    )
    parser.add_argument("-o", "--output", required=True, help="the trace to write")
    parser.add_argument(
        "--sites", type=int, default=0, help="frames of Python source with each call"
    )
    parser.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module")
    parser.add_argument("program")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    wanted = parser.parse_args()
    if not wanted.module and not os.path.exists(wanted.program):
        parser.error("%s: not found; expected a Python file" % wanted.program)
    sys.argv = [wanted.program] + wanted.arguments
    # As the interpreter itself does: the program's folder comes first.
    sys.path[0] = os.getcwd() if wanted.module else os.path.dirname(os.path.abspath(wanted.program))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(heaplay.record(wanted.output, wanted.sites))
        except RuntimeError as error:
            parser.exit(2, "heaplay.late: %s\n" % error)
        if wanted.module:
            runpy.run_module(wanted.program, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(wanted.program, run_name="__main__")


if __name__ == "__main__":
    main()
