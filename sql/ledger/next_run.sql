-- The number of the next run: runs are numbered without gaps, under the lock.
SELECT COALESCE(MAX(run_seq), 0) + 1 FROM runs
