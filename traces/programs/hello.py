"""Next to nothing: what the interpreter itself asks for between its start and its end."""

print("hello")
