"""The command line: arguments to functions, errors to exit codes."""
