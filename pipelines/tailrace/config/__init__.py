"""The project on disk and its settings."""
