-- name: record_audience_run
-- What a run planned for one audience, with the definition and the mapping it was planned by.
INSERT INTO audience_runs (
  run_seq, audience, name, destination, phase, definition, definition_fingerprint, mapping, mapping_fingerprint,
  model_fingerprint, planned_at, written_at, finished_at, rows_seen, size_before, size_after, entered, changed,
  exited, quarantined, held, sent, rejected, calls, by_reason, guards
)
VALUES (
  :run, :audience, :name, :destination, :phase, :definition, :definition_fingerprint, :mapping, :mapping_fingerprint,
  :model_fingerprint, :planned_at, :written_at, :finished_at, :rows_seen, :size_before, :size_after, :entered,
  :changed, :exited, :quarantined, :held, 0, 0, 0, :by_reason, :guards
)

-- name: forget_inputs
-- Removes the fingerprint of an audience's inputs.
DELETE FROM audience_inputs WHERE audience = :audience

-- name: record_inputs
-- The fingerprint of the inputs that a run planned an audience from.
INSERT INTO audience_inputs (audience, run_seq, fingerprint) VALUES (:audience, :run, :fingerprint)

-- name: recorded_inputs
-- The fingerprint of each audience's inputs, and the run that planned from them.
SELECT audience, run_seq, fingerprint FROM audience_inputs

-- name: last_delivered
-- The last run of an audience that the snapshot stands for.
SELECT run_seq, definition, definition_fingerprint, mapping, mapping_fingerprint,
       model_fingerprint, rows_seen, rejected
FROM audience_runs
WHERE audience = :audience AND phase = 'done'
ORDER BY run_seq DESC
LIMIT 1

-- name: latest_audience_runs
-- The latest run of each audience.
SELECT a.audience, a.run_seq, a.phase, a.size_before, a.size_after, a.entered, a.changed, a.exited,
       a.sent, a.rejected, a.held, a.quarantined, a.by_reason, a.guards, a.finished_at,
       a.name, a.destination
FROM audience_runs AS a
WHERE NOT EXISTS (
  SELECT 1 FROM audience_runs AS later
  WHERE later.audience = a.audience AND later.run_seq > a.run_seq
)
ORDER BY a.audience

-- name: audience_runs_delivering
-- The audience runs whose outbox is not settled, the oldest first.
SELECT a.run_seq, r.run_id, a.audience, a.mapping, a.planned_at,
       a.entered + a.changed + a.exited AS planned, a.written_at
FROM audience_runs AS a
JOIN runs AS r ON r.run_seq = a.run_seq
WHERE a.phase = 'delivering'
ORDER BY a.run_seq, a.audience

-- name: pending
-- What an audience still owes: transitions refused and not yet settled, and doubtful keys.
SELECT
  (SELECT COUNT(*) FROM rejections WHERE audience = :audience AND resolved_at IS NULL),
  (SELECT COUNT(*) FROM doubtful WHERE audience = :audience)

-- name: finish_audience_run
-- An audience run is settled; its numbers are final.
UPDATE audience_runs
SET phase = :phase, finished_at = :now, size_after = COALESCE(:size_after, size_after), sent = :sent, rejected = :rejected, calls = :calls
WHERE run_seq = :run AND audience = :audience

-- name: given_up
-- The last run at which a name was given up: its audience retired, or carried over to another name.
-- DuckDB 1.5 fails over the greatest of a bare column where its statistics rule every row out.
SELECT COALESCE(MAX(CASE WHEN phase = 'retired' THEN run_seq END), 0)
FROM audience_runs
WHERE name = :name AND destination = :destination

-- name: give_up_name
-- A name that an audience had until now: another audience that takes it starts under ids of its own.
INSERT INTO audience_runs (
  run_seq, audience, name, destination, phase, definition, definition_fingerprint, mapping, mapping_fingerprint,
  model_fingerprint, planned_at, written_at, finished_at, rows_seen, size_before, size_after, entered, changed,
  exited, quarantined, held, sent, rejected, calls, by_reason, guards
)
SELECT
  :run, a.audience, a.name, a.destination, 'retired', a.definition, a.definition_fingerprint, a.mapping,
  a.mapping_fingerprint, NULL, :now, :now, :now, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '{}', '[]'
FROM audience_runs AS a
WHERE a.audience = :audience AND NOT EXISTS (
  SELECT 1 FROM audience_runs AS later
  WHERE later.audience = a.audience AND later.run_seq > a.run_seq
)

-- name: retire_runs
-- What an audience was delivered belongs to the past: one of the same name starts anew.
UPDATE audience_runs SET phase = 'retired' WHERE audience = :audience AND phase <> 'delivering'

-- name: rename_rows
-- An audience's past goes over to another name; what a later audience of the old name did stays.
UPDATE renamed SET audience = :new_name WHERE audience = :old_name AND run_seq < :before

-- name: rename_title
-- What people call an audience from now on.
UPDATE audience_runs SET name = :name WHERE audience = :audience
