-- name: save_audience_runs
-- Saves the plans of audiences: their counts, definitions and mappings.
INSERT INTO audience_runs (
  run_seq, sync_key, name, destination, phase, definition, definition_fingerprint, mapping, mapping_fingerprint,
  model_fingerprint, planned_at, written_at, finished_at, rows_seen, size_before, size_after, entered, changed,
  exited, quarantined, held, sent, rejected, calls, by_reason, guards, funnel
)
SELECT
  :run, p.sync_key, p.name, p.destination, p.phase, p.definition, p.definition_fingerprint, p.mapping,
  p.mapping_fingerprint, CAST(p.model_fingerprint AS TEXT), p.planned_at, :written_at,
  CAST(p.finished_at AS TIMESTAMPTZ), p.rows_seen, p.size_before, p.size_after, p.entered, p.changed, p.exited,
  p.quarantined, p.held, 0, 0, 0, p.by_reason, p.guards, CAST(p.funnel AS TEXT)
FROM planned AS p

-- name: delete_earlier_inputs
-- Removes the fingerprints of earlier inputs of the audiences that a run planned.
DELETE FROM audience_inputs AS i
WHERE i.run_seq < :run AND EXISTS (
  SELECT 1 FROM audience_runs AS a WHERE a.run_seq = :run AND a.sync_key = i.sync_key
)

-- name: save_inputs
-- Saves the fingerprints of the inputs of audiences in a run.
INSERT INTO audience_inputs (sync_key, run_seq, fingerprint)
SELECT i.sync_key, :run, i.fingerprint FROM inputs AS i

-- name: read_inputs
-- The fingerprint of each audience's inputs, with the run that saved it.
SELECT sync_key, run_seq, fingerprint FROM audience_inputs

-- name: last_delivered
-- The latest delivered run of an audience, which the snapshot reflects.
SELECT run_seq, definition, definition_fingerprint, mapping, mapping_fingerprint,
       model_fingerprint, rows_seen, rejected
FROM audience_runs
WHERE sync_key = :sync_key AND phase = 'done'
ORDER BY run_seq DESC
LIMIT 1

-- name: all_last_delivered
-- The latest delivered run of each audience.
SELECT a.sync_key, a.run_seq, a.definition, a.definition_fingerprint, a.mapping,
       a.mapping_fingerprint, a.model_fingerprint, a.rows_seen, a.rejected
FROM audience_runs AS a
JOIN (
  SELECT n.sync_key, MAX(n.run_seq) AS run_seq
  FROM audience_runs AS n
  WHERE n.phase = 'done'
  GROUP BY n.sync_key
) AS latest ON latest.sync_key = a.sync_key AND latest.run_seq = a.run_seq

-- name: latest_audience_runs
-- The latest run of each audience.
SELECT a.sync_key, a.run_seq, a.phase, a.size_before, a.size_after, a.entered, a.changed, a.exited,
       a.sent, a.rejected, a.held, a.quarantined, a.by_reason, a.guards, a.finished_at,
       a.name, a.destination
FROM audience_runs AS a
JOIN (
  SELECT n.sync_key, MAX(n.run_seq) AS run_seq FROM audience_runs AS n GROUP BY n.sync_key
) AS latest ON latest.sync_key = a.sync_key AND latest.run_seq = a.run_seq
ORDER BY a.sync_key

-- name: pending_deliveries
-- Audience runs with a pending delivery, oldest first.
SELECT a.run_seq, r.run_id, a.sync_key, a.mapping, a.planned_at,
       a.entered + a.changed + a.exited AS planned, a.written_at
FROM audience_runs AS a
JOIN runs AS r ON r.run_seq = a.run_seq
WHERE a.phase = 'delivering'
ORDER BY a.run_seq, a.sync_key

-- name: unresolved_counts
-- The numbers of open rejections and unconfirmed keys of a sync.
SELECT
  (SELECT COUNT(*) FROM rejections WHERE sync_key = :sync_key AND resolved_at IS NULL),
  (SELECT COUNT(*) FROM unconfirmed WHERE sync_key = :sync_key)

-- name: all_unresolved_counts
-- The numbers of open rejections and unconfirmed keys of each sync that has any.
SELECT u.sync_key, SUM(u.rejections) AS rejections, SUM(u.keys) AS keys
FROM (
  SELECT r.sync_key, 1 AS rejections, 0 AS keys FROM rejections AS r WHERE r.resolved_at IS NULL
  UNION ALL
  SELECT d.sync_key, 0 AS rejections, 1 AS keys FROM unconfirmed AS d
) AS u
GROUP BY u.sync_key

-- name: finish_audience_runs
-- Completes audience runs with their final numbers.
UPDATE audience_runs AS a
SET phase = 'done', finished_at = :now, size_after = COALESCE(CAST(f.size_after AS BIGINT), a.size_after),
    sent = f.sent, rejected = f.rejected, calls = f.calls
FROM finished AS f
WHERE a.run_seq = f.run_seq AND a.sync_key = f.sync_key

-- name: released_names
-- The last run that released each name, by retiring or renaming its audience.
SELECT a.name, a.destination, MAX(a.run_seq) AS run_seq
FROM audience_runs AS a
WHERE a.phase = 'retired'
GROUP BY a.name, a.destination

-- name: release_name
-- Releases the name of an audience. Another audience that takes the name gets messageIds of its own.
INSERT INTO audience_runs (
  run_seq, sync_key, name, destination, phase, definition, definition_fingerprint, mapping, mapping_fingerprint,
  model_fingerprint, planned_at, written_at, finished_at, rows_seen, size_before, size_after, entered, changed,
  exited, quarantined, held, sent, rejected, calls, by_reason, guards
)
SELECT
  :run, a.sync_key, a.name, a.destination, 'retired', a.definition, a.definition_fingerprint, a.mapping,
  a.mapping_fingerprint, NULL, :now, :now, :now, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '{}', '[]'
FROM audience_runs AS a
WHERE a.sync_key = :sync_key AND NOT EXISTS (
  SELECT 1 FROM audience_runs AS later
  WHERE later.sync_key = a.sync_key AND later.run_seq > a.run_seq
)

-- name: retire_runs
-- Marks the runs of a sync as retired, so that a later audience of the same name starts empty.
UPDATE audience_runs SET phase = 'retired' WHERE sync_key = :sync_key AND phase <> 'delivering'

-- name: rename_rows
-- Moves the earlier rows of a sync to another key. Rows of a later audience of the same name stay.
UPDATE renamed SET sync_key = :new_key WHERE sync_key = :old_key AND run_seq < :before

-- name: rename_audience
-- Sets the name of an audience.
UPDATE audience_runs SET name = :name WHERE sync_key = :sync_key
