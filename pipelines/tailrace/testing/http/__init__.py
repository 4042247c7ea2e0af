"""The HTTP server that the simulators share, and its fault rules."""
