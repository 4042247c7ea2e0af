"""Salesforce objects into warehouse tables, incrementally."""
