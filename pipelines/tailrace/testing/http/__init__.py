"""The HTTP server below both simulators, and the faults that it can play."""
