-- The last run at which a name was given up: its audience retired, or carried over to another name.
SELECT COALESCE(MAX(run_seq), 0)
FROM audience_runs
WHERE name = :name AND destination = :destination AND phase = 'retired'
