"""Parsing and compiling source: modules of the standard library become trees, then code, then go.

Usage: parse_source.py [MODULES]. Bursts of nodes of a few sizes, the parser's arenas, long tuples.
"""
import ast
import os
import sys

NAMES = """textwrap shlex bisect heapq string fnmatch glob stat copy queue sched cmd code csv
difflib gettext imp calendar cgi configparser decimal argparse""".split()

count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
home = os.path.dirname(os.__file__)
defined = {}
for index in range(count):
    path = os.path.join(home, NAMES[index % len(NAMES)] + ".py")
    if not os.path.exists(path):
        continue
    with open(path, encoding="utf-8") as file:
        source = file.read()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            defined[index, node.name] = (node.lineno, ast.get_docstring(node))
    code = compile(tree, "module", "exec")
    del tree, code
print(len(defined))
