"""The DuckDB file of throw-away machines, kept in an object store or a folder (`state_url`)."""
