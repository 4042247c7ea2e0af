"""A small Salesforce org in memory: objects, records and a day of changes."""
