"""Writes the workflows that run a project on a schedule and plan its pull requests."""
