"""Next to nothing: what the interpreter itself requests between its start and its end."""

print("hello")
