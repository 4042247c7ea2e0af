-- The last run at which a name was given up: its audience retired, or carried over to another name.
-- DuckDB 1.5 fails over the greatest of a bare column where its statistics rule every row out.
SELECT COALESCE(MAX(CASE WHEN phase = 'retired' THEN run_seq END), 0)
FROM audience_runs
WHERE name = :name AND destination = :destination
