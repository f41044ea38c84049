"""`python -m heaplay VERB …` runs the program `heaplay`.

The verbs that run a program get this interpreter, for a program that is a Python file:
`python -m heaplay record app.py` is `heaplay record --python PYTHON app.py`.
"""

import sys

from heaplay import _program

# The verbs with the option `--python`.
RUNS_A_PROGRAM = ("record", "live")


def main() -> None:
    """Replaces this process by the program."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in RUNS_A_PROGRAM and sys.executable:
        arguments.insert(1, "--python=" + sys.executable)
    _program.replace_process(arguments)


if __name__ == "__main__":
    main()
