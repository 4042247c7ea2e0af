-- The latest runs.
SELECT run_seq, run_id, command, phase, started_at, finished_at, exit_code, salesforce_calls, error
FROM runs
ORDER BY run_seq DESC
LIMIT :rows_max
