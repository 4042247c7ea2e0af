"""Webhooks: members as elements of JSON requests to any URL, Apex REST included."""
