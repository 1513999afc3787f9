"""The commands of the command line: each module has `add_arguments(parser)` and
`run(arguments) -> exit code`.  Its help and its part of the man page are its docstring, NOTES if it
has them, and EXAMPLES: what to type behind the name of the program."""
