"""The command line: parses options, calls the project, prints the result."""
