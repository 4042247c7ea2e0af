"""Alerts about audiences and runs that need attention, sent with apprise."""
