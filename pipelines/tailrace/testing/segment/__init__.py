"""A simulator of the Segment tracking API."""
