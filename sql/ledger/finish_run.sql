-- A run ends, well or badly.
UPDATE runs
SET phase = :phase, finished_at = :now, exit_code = :exit_code, error = :error,
    salesforce_calls = :salesforce_calls
WHERE run_seq = :run
