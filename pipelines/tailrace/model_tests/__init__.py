"""Tests of models: rows in, members and calls out, in a DuckDB database in memory."""
