-- name: save_write_job
-- Records a job before its rows are uploaded.
INSERT INTO write_jobs (
  run_seq, sync_key, job_id, first_seq, last_seq, row_count, state, created_at, finished_at
)
VALUES (
  :run, :sync_key, :job_id, :first_seq, :last_seq, :row_count, 'created', :now,
  CAST(NULL AS TIMESTAMPTZ)
)

-- name: unfinished_write_jobs
-- The jobs of an audience run whose results have not been read, oldest first.
SELECT job_id, first_seq, last_seq, row_count
FROM write_jobs
WHERE run_seq = :run AND sync_key = :sync_key AND finished_at IS NULL
ORDER BY created_at, first_seq

-- name: finish_write_job
-- Records that the results of a job have been read, or that it is gone.
UPDATE write_jobs SET state = :state, finished_at = :now WHERE job_id = :job_id
