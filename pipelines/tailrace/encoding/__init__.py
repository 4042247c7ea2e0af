"""Warehouse values as JSON, hashed, normalized or masked."""
