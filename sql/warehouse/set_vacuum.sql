-- How many pieces of a table DuckDB may write anew in one checkpoint, without what was deleted.
SET max_vacuum_tasks = :tasks_max
