-- name: version_1
-- The ledger's tables: plans, acknowledgements, rejections, extracts and the lock.
CREATE TABLE installation (
  namespace TEXT NOT NULL,
  version BIGINT NOT NULL,
  created_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE runs (
  run_seq BIGINT NOT NULL,
  run_id TEXT NOT NULL,
  command TEXT NOT NULL,
  phase TEXT NOT NULL,
  started_at TIMESTAMPTZ NOT NULL,
  finished_at TIMESTAMPTZ,
  exit_code BIGINT,
  versions TEXT NOT NULL,
  allowed TEXT NOT NULL,
  salesforce_calls BIGINT NOT NULL,
  error TEXT
);
CREATE TABLE audience_runs (
  run_seq BIGINT NOT NULL,
  audience TEXT NOT NULL,
  name TEXT NOT NULL,
  destination TEXT NOT NULL,
  phase TEXT NOT NULL,
  definition TEXT NOT NULL,
  definition_fingerprint TEXT NOT NULL,
  mapping TEXT NOT NULL,
  mapping_fingerprint TEXT NOT NULL,
  model_fingerprint TEXT,
  planned_at TIMESTAMPTZ NOT NULL,
  written_at TIMESTAMPTZ NOT NULL,
  finished_at TIMESTAMPTZ,
  rows_seen BIGINT NOT NULL,
  size_before BIGINT NOT NULL,
  size_after BIGINT NOT NULL,
  entered BIGINT NOT NULL,
  changed BIGINT NOT NULL,
  exited BIGINT NOT NULL,
  quarantined BIGINT NOT NULL,
  held BIGINT NOT NULL,
  sent BIGINT NOT NULL,
  rejected BIGINT NOT NULL,
  calls BIGINT NOT NULL,
  by_reason TEXT NOT NULL,
  guards TEXT NOT NULL
);
CREATE TABLE acks (
  run_seq BIGINT NOT NULL,
  audience TEXT NOT NULL,
  first_seq BIGINT NOT NULL,
  last_seq BIGINT NOT NULL,
  calls BIGINT NOT NULL,
  acked_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE rejections (
  run_seq BIGINT NOT NULL,
  audience TEXT NOT NULL,
  seq BIGINT NOT NULL,
  kind TEXT NOT NULL,
  reason TEXT NOT NULL,
  path TEXT NOT NULL,
  status BIGINT,
  attempts BIGINT NOT NULL,
  message_id TEXT,
  payload TEXT,
  doubtful BOOLEAN NOT NULL,
  first_seen TIMESTAMPTZ NOT NULL,
  last_seen TIMESTAMPTZ NOT NULL,
  resolved_at TIMESTAMPTZ
);
CREATE TABLE doubtful (
  audience TEXT NOT NULL,
  run_seq BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  since TIMESTAMPTZ NOT NULL
);
CREATE TABLE extracts (
  run_seq BIGINT NOT NULL,
  object TEXT NOT NULL,
  table_name TEXT NOT NULL,
  rows_landed BIGINT NOT NULL,
  window_start TIMESTAMPTZ,
  window_end TIMESTAMPTZ,
  watermark TIMESTAMPTZ,
  complete BOOLEAN NOT NULL,
  empty BOOLEAN NOT NULL,
  quarantined BIGINT NOT NULL,
  vanished_fields TEXT NOT NULL,
  error TEXT,
  finished_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE lock (
  name TEXT NOT NULL,
  owner TEXT NOT NULL,
  host TEXT NOT NULL,
  process BIGINT NOT NULL,
  run_id TEXT NOT NULL,
  expires_at TIMESTAMPTZ NOT NULL
);

-- name: version_2
-- The receiver of each destination of the ledger.
CREATE TABLE receivers (
  destination TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  bound_at TIMESTAMPTZ NOT NULL
);

-- name: version_3
-- A fingerprint of all inputs of an audience's last delivered plan.
CREATE TABLE audience_inputs (
  audience TEXT NOT NULL,
  run_seq BIGINT NOT NULL,
  fingerprint TEXT NOT NULL
);

-- name: version_4
-- Renames the columns of the sync key and the table of unconfirmed outcomes.
ALTER TABLE audience_runs RENAME COLUMN audience TO sync_key;
ALTER TABLE acks RENAME COLUMN audience TO sync_key;
ALTER TABLE rejections RENAME COLUMN audience TO sync_key;
ALTER TABLE rejections RENAME COLUMN doubtful TO unconfirmed;
ALTER TABLE doubtful RENAME COLUMN audience TO sync_key;
ALTER TABLE doubtful RENAME TO unconfirmed;
ALTER TABLE audience_inputs RENAME COLUMN audience TO sync_key;

-- name: version_5
-- The path of the DuckDB file in each run, to detect a copied file.
CREATE TABLE generations (
  run_seq BIGINT NOT NULL,
  host TEXT NOT NULL,
  file TEXT NOT NULL,
  file_id TEXT NOT NULL
);

-- name: version_6
-- What the page shows of a run: its phases and budgets, each audience's funnel, seconds per object.
ALTER TABLE runs ADD COLUMN details TEXT;
ALTER TABLE audience_runs ADD COLUMN funnel TEXT;
ALTER TABLE extracts ADD COLUMN seconds DOUBLE;

-- name: version_7
-- Describes of Salesforce objects, and the ingest jobs that write records.
CREATE TABLE described_objects (
  object TEXT NOT NULL,
  described TEXT NOT NULL,
  described_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE write_jobs (
  run_seq BIGINT NOT NULL,
  sync_key TEXT NOT NULL,
  job_id TEXT NOT NULL,
  first_seq BIGINT NOT NULL,
  last_seq BIGINT NOT NULL,
  row_count BIGINT NOT NULL,
  state TEXT NOT NULL,
  created_at TIMESTAMPTZ NOT NULL,
  finished_at TIMESTAMPTZ
);

-- name: version_8
-- The destinations that receive nothing until they are resumed.
CREATE TABLE stopped_destinations (
  destination TEXT NOT NULL,
  reason TEXT NOT NULL,
  stopped_at TIMESTAMPTZ NOT NULL
);

-- name: version_9
-- The time from a record's modification to its acknowledgement, and the processes of `run --watch`.
ALTER TABLE runs ADD COLUMN latency_records BIGINT;
ALTER TABLE runs ADD COLUMN latency_p50_seconds DOUBLE;
ALTER TABLE runs ADD COLUMN latency_p95_seconds DOUBLE;
CREATE TABLE watches (
  watch_id TEXT NOT NULL,
  host TEXT NOT NULL,
  process BIGINT NOT NULL,
  every_seconds DOUBLE NOT NULL,
  started_at TIMESTAMPTZ NOT NULL,
  last_cycle_at TIMESTAMPTZ,
  ended_at TIMESTAMPTZ,
  cycles BIGINT NOT NULL,
  idle_cycles BIGINT NOT NULL,
  failed_cycles BIGINT NOT NULL,
  error TEXT
);

-- name: version_10
-- The problems that were alerted and have not been reported as recovered.
CREATE TABLE alerts (
  receiver TEXT NOT NULL,
  subject TEXT NOT NULL,
  problem TEXT NOT NULL,
  alerted_at TIMESTAMPTZ NOT NULL
);

-- name: version_11
-- The views that other tools may read. Within a version of the interface, columns are only added.
CREATE VIEW v_runs AS
SELECT
  r.run_seq, r.run_id, r.command,
  CASE
    WHEN r.finished_at IS NULL THEN 'unfinished'
    WHEN r.exit_code = 0 THEN 'ok'
    WHEN r.exit_code = 3 THEN 'held'
    WHEN r.exit_code = 4 THEN 'rejected'
    ELSE 'failed'
  END AS status,
  r.exit_code, r.started_at, r.finished_at,
  CAST(EXTRACT(EPOCH FROM (r.finished_at - r.started_at)) AS DOUBLE) AS seconds,
  r.salesforce_calls, r.latency_p50_seconds, r.latency_p95_seconds, r.error
FROM runs AS r;
CREATE VIEW v_audience_runs AS
SELECT
  a.run_seq, r.run_id, a.name AS audience, a.destination, a.sync_key, a.phase, a.planned_at,
  a.finished_at, a.rows_seen, a.size_before,
  CASE WHEN a.phase = 'held' THEN a.size_before ELSE a.size_after END AS size_after,
  a.entered, a.changed, a.exited, a.sent, a.rejected, a.held, a.quarantined, a.calls AS messages,
  a.guards
FROM audience_runs AS a
JOIN runs AS r ON r.run_seq = a.run_seq;
CREATE VIEW v_members AS
SELECT
  CAST(NULL AS TEXT) AS audience, CAST(NULL AS TEXT) AS destination,
  CAST(NULL AS TEXT) AS sync_key, CAST(NULL AS TEXT) AS member_key,
  CAST(NULL AS TIMESTAMPTZ) AS since
FROM installation AS i
WHERE FALSE;
CREATE VIEW v_deliveries AS
SELECT
  k.run_seq, r.run_id, a.name AS audience, a.destination, k.sync_key, k.first_seq, k.last_seq,
  k.last_seq - k.first_seq + 1 AS changes, k.calls AS messages, k.acked_at AS acknowledged_at
FROM acks AS k
JOIN runs AS r ON r.run_seq = k.run_seq
JOIN audience_runs AS a ON a.run_seq = k.run_seq AND a.sync_key = k.sync_key;
CREATE VIEW v_rejections AS
SELECT
  x.run_seq, r.run_id, a.name AS audience, a.destination, x.sync_key, x.seq, x.kind, x.reason,
  x.path, x.status, x.attempts, x.unconfirmed, x.resolved_at IS NULL AS is_open, x.first_seen,
  x.last_seen, x.resolved_at
FROM rejections AS x
JOIN runs AS r ON r.run_seq = x.run_seq
JOIN audience_runs AS a ON a.run_seq = x.run_seq AND a.sync_key = x.sync_key;

-- name: members_of
-- The members of one sync. The parts of a composite key are joined by a bar.
SELECT
  CAST(:audience AS TEXT) AS audience, CAST(:destination AS TEXT) AS destination,
  CAST(:sync_key AS TEXT) AS sync_key, CONCAT_WS('|', EACH_COLUMN(keys, CAST(s._ AS TEXT))) AS member_key,
  s._since AS since
FROM snapshot AS s
WHERE NOT s._gone

-- name: both_members
-- The members of several syncs.
SELECT a.audience, a.destination, a.sync_key, a.member_key, a.since FROM one AS a
UNION ALL
SELECT b.audience, b.destination, b.sync_key, b.member_key, b.since FROM other AS b

-- name: no_members
-- No member, with the columns of v_members.
SELECT
  CAST(NULL AS TEXT) AS audience, CAST(NULL AS TEXT) AS destination,
  CAST(NULL AS TEXT) AS sync_key, CAST(NULL AS TEXT) AS member_key,
  CAST(NULL AS TIMESTAMPTZ) AS since
WHERE FALSE

-- name: replace_members
-- Replaces the view of all members; views that are built on it remain.
CREATE OR REPLACE VIEW v_members AS
SELECT m.audience, m.destination, m.sync_key, m.member_key, m.since FROM members AS m

-- name: member_tables
-- Each sync with its audience and the mapping of its last delivery, else of its last plan.
SELECT a.sync_key, latest.name, latest.destination, a.mapping
FROM (
  SELECT
    x.sync_key, x.mapping,
    ROW_NUMBER() OVER (
      PARTITION BY x.sync_key
      ORDER BY CASE WHEN x.phase IN ('done', 'delivering') THEN 0 ELSE 1 END, x.run_seq DESC
    ) AS place
  FROM audience_runs AS x
) AS a
JOIN (
  SELECT y.sync_key, y.name, y.destination, y.phase
  FROM audience_runs AS y
  WHERE NOT EXISTS (
    SELECT 1 FROM audience_runs AS later
    WHERE later.sync_key = y.sync_key AND later.run_seq > y.run_seq
  )
) AS latest ON latest.sync_key = a.sync_key
WHERE a.place = 1 AND latest.phase <> 'retired'
ORDER BY a.sync_key

-- name: runs_before_version_9
-- The table runs with the columns of version 9, for a ledger that is opened read-only.
SELECT
  r.*, CAST(NULL AS BIGINT) AS latency_records, CAST(NULL AS DOUBLE) AS latency_p50_seconds,
  CAST(NULL AS DOUBLE) AS latency_p95_seconds
FROM runs AS r

-- name: runs_before_version_6
-- The table runs with the columns of version 6, for a ledger that is opened read-only.
SELECT r.*, CAST(NULL AS TEXT) AS details FROM runs AS r

-- name: audience_runs_before_version_6
-- The table audience_runs with the columns of version 6.
SELECT a.*, CAST(NULL AS TEXT) AS funnel FROM audience_runs AS a

-- name: extracts_before_version_6
-- The table extracts with the columns of version 6.
SELECT e.*, CAST(NULL AS DOUBLE) AS seconds FROM extracts AS e

-- name: audience_runs_before_version_4
-- The table audience_runs with the columns of version 4, for a ledger that is opened read-only.
SELECT
  a.run_seq, a.audience AS sync_key, a.name, a.destination, a.phase, a.definition, a.definition_fingerprint,
  a.mapping, a.mapping_fingerprint, a.model_fingerprint, a.planned_at, a.written_at, a.finished_at,
  a.rows_seen, a.size_before, a.size_after, a.entered, a.changed, a.exited, a.quarantined, a.held, a.sent,
  a.rejected, a.calls, a.by_reason, a.guards
FROM audience_runs AS a

-- name: acks_before_version_4
-- The table acks with the columns of version 4.
SELECT a.run_seq, a.audience AS sync_key, a.first_seq, a.last_seq, a.calls, a.acked_at
FROM acks AS a

-- name: rejections_before_version_4
-- The table rejections with the columns of version 4.
SELECT
  r.run_seq, r.audience AS sync_key, r.seq, r.kind, r.reason, r.path, r.status, r.attempts, r.message_id,
  r.payload, r.doubtful AS unconfirmed, r.first_seen, r.last_seen, r.resolved_at
FROM rejections AS r

-- name: unconfirmed_before_version_4
-- The table unconfirmed with the columns of version 4.
SELECT d.audience AS sync_key, d.run_seq, d.seq, d.since
FROM doubtful AS d

-- name: read_installation
-- This installation's namespace and the version of its tables.
SELECT namespace, version FROM installation

-- name: install
-- Saves the random namespace that makes this installation's message ids unique.
INSERT INTO installation (namespace, version, created_at) VALUES (:namespace, :version, :now)

-- name: upgrade
-- Saves the version of the tables.
UPDATE installation SET version = :version

-- name: create_snapshot
-- The members of an audience as last acknowledged, in the model's own types.
CREATE TABLE snapshot AS
SELECT EACH_COLUMN(keys, AS_STORED(m._)), EACH_COLUMN(columns, AS_STORED(m._)),
       CAST(0 AS BIGINT) AS _v, CAST(NULL AS TIMESTAMPTZ) AS _since, FALSE AS _gone
FROM model AS m
WHERE FALSE

-- name: create_outbox
-- The planned transitions of an audience, until they are purged.
CREATE TABLE outbox AS
SELECT CAST(0 AS BIGINT) AS run_seq, CAST(0 AS BIGINT) AS seq, CAST('' AS TEXT) AS op,
       CAST('' AS TEXT) AS reason, CAST(0 AS BIGINT) AS base_v, FALSE AS _blind, FALSE AS _send,
       FALSE AS _stays, CAST(NULL AS TIMESTAMPTZ) AS _at, CAST(NULL AS TIMESTAMPTZ) AS _since,
       EACH_COLUMN(keys, AS_STORED(m._)), EACH_COLUMN(columns, AS_STORED(m._)), EACH_COLUMN(columns, AS_STORED(m._), old__)
FROM model AS m
WHERE FALSE

-- name: add_column
-- Adds a column to a table.
ALTER TABLE altered ADD COLUMN _ _TYPE

-- name: backfill
-- Fills a new column of the snapshot with the members' values of another one of the model.
UPDATE snapshot AS s
SET _ = m._PAIR
FROM model AS m
WHERE NOT s._gone AND EVERY_COLUMN(keys, m._ = s._)

-- name: count_uncastable
-- Fails if a value of the column cannot be cast to the new type.
SELECT COUNT(CAST(t._ AS _TYPE)) FROM altered AS t

-- name: retype_column
-- Changes the type of a column to the model's type.
ALTER TABLE altered ALTER COLUMN _ SET DATA TYPE _TYPE USING CAST(_ AS _TYPE)

-- name: retype_column (snowflake)
-- Changes the type of a column to the model's type; Snowflake alters few types in place.
CREATE OR REPLACE TABLE altered AS
SELECT * REPLACE (AS_STORED(a._) AS _) FROM altered AS a

-- name: copy_retyped
-- Copies a table with another type of one column, for an engine that only widens types in place.
CREATE TEMPORARY TABLE copied AS
SELECT * REPLACE (CAST(a._ AS _TYPE) AS _) FROM altered AS a

-- name: create_of_copy
-- Creates the table again, of its copy.
CREATE TABLE altered AS SELECT c.* FROM copied AS c

-- name: rename_column
-- Gives a column that was filled its name.
ALTER TABLE altered RENAME COLUMN _ TO _PAIR

-- name: drop_column
-- Drops a column that is no longer mapped.
ALTER TABLE altered DROP COLUMN _

-- name: drop_table
-- Drops the table of a retired audience.
DROP TABLE IF EXISTS dropped

-- name: rename_table
-- Renames a table to the audience's new name.
ALTER TABLE renamed RENAME TO named
