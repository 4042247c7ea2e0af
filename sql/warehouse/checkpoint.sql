-- Writes what was committed to the tables' own place in DuckDB's file.
CHECKPOINT
