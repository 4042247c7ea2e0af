-- name: next_run
-- The number of the next run. Runs are numbered without gaps, under the lock.
SELECT COALESCE(MAX(run_seq), 0) + 1 FROM runs

-- name: start_run
-- Saves the start of a run.
INSERT INTO runs (run_seq, run_id, command, phase, started_at, versions, allowed, salesforce_calls)
VALUES (:run, :run_id, :command, 'planned', :now, :versions, :allowed, 0)

-- name: finish_run
-- Saves the end of a run, with its exit code and error.
UPDATE runs
SET phase = :phase, finished_at = :now, exit_code = :exit_code, error = :error,
    salesforce_calls = :salesforce_calls, details = :details, latency_records = :latency_records,
    latency_p50_seconds = :latency_p50_seconds, latency_p95_seconds = :latency_p95_seconds
WHERE run_seq = :run

-- name: last_phase
-- The phase of the last run of a command.
SELECT phase FROM runs WHERE command = :command ORDER BY run_seq DESC LIMIT 1

-- name: recent_runs
-- The latest runs.
SELECT run_seq, run_id, command, phase, started_at, finished_at, exit_code, salesforce_calls, error,
       latency_p50_seconds, latency_p95_seconds
FROM runs
ORDER BY run_seq DESC
LIMIT :rows_max

-- name: save_extracts
-- Saves the extracts of objects: their rows, windows, watermarks and completeness.
INSERT INTO extracts (
  run_seq, object, table_name, rows_landed, window_start, window_end, watermark, complete, empty,
  quarantined, vanished_fields, error, finished_at, seconds
)
SELECT
  :run, x.object, x.table_name, x.rows_landed, CAST(x.window_start AS TIMESTAMPTZ),
  CAST(x.window_end AS TIMESTAMPTZ), CAST(x.watermark AS TIMESTAMPTZ), x.complete, x.empty,
  x.quarantined, x.vanished_fields, CAST(x.error AS TEXT), :now, CAST(x.seconds AS DOUBLE)
FROM extracted AS x

-- name: last_extracts
-- The latest extract of each object: whether it is complete and whether it is empty. A full refresh
-- is recorded before and after it, by a clock that may say one time for both.
SELECT
  n.table_name, n.object, n.complete, n.empty, n.error, n.finished_at, n.vanished_fields,
  n.rows_landed
FROM (
  SELECT
    e.*,
    ROW_NUMBER() OVER (
      PARTITION BY e.table_name
      ORDER BY e.run_seq DESC, e.finished_at DESC, e.complete DESC, e.seconds DESC NULLS LAST
    ) AS place
  FROM extracts AS e
) AS n
WHERE n.place = 1

-- name: watermarks
-- The time up to which each object has landed completely; NULL where rows do not say when they changed.
SELECT e.object, e.watermark
FROM extracts AS e
WHERE e.complete AND NOT EXISTS (
  SELECT 1 FROM extracts AS later
  WHERE later.table_name = e.table_name AND later.complete
    AND (later.run_seq > e.run_seq
         OR (later.run_seq = e.run_seq AND later.finished_at > e.finished_at))
)

-- name: deliveries_since_extract
-- The number of deliveries to a destination that the landed rows of an object may not show.
SELECT COUNT(*)
FROM audience_runs AS a
CROSS JOIN (
  SELECT MAX(x.watermark) AS reached FROM extracts AS x WHERE x.object = :object AND x.complete
) AS e
WHERE a.destination = :destination
  AND (a.sent > 0 OR a.rejected > 0 OR a.phase = 'delivering')
  AND (a.finished_at IS NULL OR e.reached IS NULL OR a.finished_at >= e.reached)

-- name: last_salesforce_calls
-- The API calls that the last extract used.
SELECT r.salesforce_calls
FROM runs AS r
WHERE EXISTS (SELECT 1 FROM extracts AS e WHERE e.run_seq = r.run_seq)
ORDER BY r.run_seq DESC
LIMIT 1
