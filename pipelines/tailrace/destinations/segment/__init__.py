"""Segment: messages, requests, responses and the rules of its tracking API."""
