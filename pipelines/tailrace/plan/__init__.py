"""What a run would send: the diff, its reasons, its guards and its statistics."""
