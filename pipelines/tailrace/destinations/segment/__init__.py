"""Segment: identify, group and track messages for its tracking API."""
