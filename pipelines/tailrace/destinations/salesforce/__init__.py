"""Salesforce as a destination: members become records, campaign members or platform events."""
