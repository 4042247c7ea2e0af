-- The ledger's tables: what was planned, what was acknowledged, what was refused.
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
