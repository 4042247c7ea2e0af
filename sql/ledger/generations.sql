-- name: generations
-- The places of the latest runs, the last one first.
SELECT host, file, file_id FROM generations ORDER BY run_seq DESC LIMIT :rows_max

-- name: record_generation
-- The place of the DuckDB file during a run.
INSERT INTO generations (run_seq, host, file, file_id) VALUES (:run, :host, :file, :file_id)

-- name: run_numbered
-- The id of the run with this number.
SELECT run_id FROM runs WHERE run_seq = :run
