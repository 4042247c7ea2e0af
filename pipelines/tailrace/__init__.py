"""Tailrace: reverse ETL as code, from Salesforce through SQL audiences to Segment."""

__version__ = "0.1.0"
