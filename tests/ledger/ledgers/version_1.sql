-- A ledger of version 1, written by Tailrace at commit 6da763c: rejections, an unconfirmed key,
-- tombstones, and a delivery of which the first two transitions are acknowledged.
CREATE SCHEMA tailrace;
CREATE SCHEMA salesforce;
CREATE TABLE salesforce.contact (
  id TEXT,
  city TEXT
);
INSERT INTO salesforce.contact VALUES
  ('c1', 'Voss'),
  ('c2', 'Bergen'),
  ('c5', 'Cusco'),
  ('c6', 'Turin');
CREATE TABLE tailrace.acks (
  run_seq BIGINT NOT NULL,
  audience TEXT NOT NULL,
  first_seq BIGINT NOT NULL,
  last_seq BIGINT NOT NULL,
  calls BIGINT NOT NULL,
  acked_at TIMESTAMPTZ NOT NULL
);
INSERT INTO tailrace.acks VALUES
  (1, 'people', 1, 5, 5, TIMESTAMPTZ '2026-11-27T07:44:35.864083+00:00'),
  (2, 'people', 1, 3, 3, TIMESTAMPTZ '2026-11-27T07:44:36.621890+00:00'),
  (3, 'people', 1, 2, 2, TIMESTAMPTZ '2026-11-27T07:44:37.474415+00:00');
CREATE TABLE tailrace.audience_runs (
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
INSERT INTO tailrace.audience_runs VALUES
  (1, 'people', 'people', 'segment', 'done', 'SELECT
  id,
  city
FROM salesforce.contact', '89664f64b40393fe56239450699e961bd73a25205297c28cba1bf3fb787e7c1a', '{"anonymous_id": null, "called": null, "consent": null, "context": {}, "description": "", "destination": null, "destinations": [], "external_ids": {}, "file": "models/audiences/people.sql", "group": null, "guards": {"explicit": ["max_exited"], "max_changed": null, "max_entered": null, "max_exited": null, "min_rows": null}, "identify": {"membership_trait": null, "traits": {"city": {"column": "city", "drop_if_null": false, "hash": null, "mask": false, "normalize": null, "value": null}}}, "integrations": {}, "key": ["id"], "name": "people", "on_definition_change": null, "on_mapping_change": null, "on_new_column": null, "owner": null, "payload": "plain", "retiring": false, "tags": [], "track": {"changed": null, "entered": "Segment Entered", "exited": "Segment Exited", "initial": "send", "message_id": null, "properties": {}, "timestamp": null}, "user_id": "id"}', '727f52e15bcf1895e6abcfedb5f0855fb2a007cb1b18444bfe43fceefcb6f0c6', 'duckdb v2.0.0|id VARCHAR,city VARCHAR|5|1040295655605154096|40635431199479330702', TIMESTAMPTZ '2026-11-27T07:44:35.080216+00:00', TIMESTAMPTZ '2026-11-27T07:44:35.774257+00:00', TIMESTAMPTZ '2026-11-27T07:44:35.889891+00:00', 5, 0, 5, 5, 0, 0, 0, 0, 5, 0, 5, '{"initial": {"entered": 5, "changed": 0, "exited": 0}}', '[{"name": "upstream", "seen": 0, "limit": 0, "held": false, "allowed": false, "message": ""}, {"name": "keys", "seen": 0, "limit": 0, "held": false, "allowed": false, "message": ""}]'),
  (2, 'people', 'people', 'segment', 'done', 'SELECT
  id,
  city
FROM salesforce.contact', '89664f64b40393fe56239450699e961bd73a25205297c28cba1bf3fb787e7c1a', '{"anonymous_id": null, "called": null, "consent": null, "context": {}, "description": "", "destination": null, "destinations": [], "external_ids": {}, "file": "models/audiences/people.sql", "group": null, "guards": {"explicit": ["max_exited"], "max_changed": null, "max_entered": null, "max_exited": null, "min_rows": null}, "identify": {"membership_trait": null, "traits": {"city": {"column": "city", "drop_if_null": false, "hash": null, "mask": false, "normalize": null, "value": null}}}, "integrations": {}, "key": ["id"], "name": "people", "on_definition_change": null, "on_mapping_change": null, "on_new_column": null, "owner": null, "payload": "plain", "retiring": false, "tags": [], "track": {"changed": null, "entered": "Segment Entered", "exited": "Segment Exited", "initial": "send", "message_id": null, "properties": {}, "timestamp": null}, "user_id": "id"}', '727f52e15bcf1895e6abcfedb5f0855fb2a007cb1b18444bfe43fceefcb6f0c6', 'duckdb v2.0.0|id VARCHAR,city VARCHAR|4|7872248798995795970|44749790555524937864', TIMESTAMPTZ '2026-11-27T07:44:36.029846+00:00', TIMESTAMPTZ '2026-11-27T07:44:36.488761+00:00', TIMESTAMPTZ '2026-11-27T07:44:36.647187+00:00', 4, 5, 4, 0, 2, 1, 0, 0, 1, 2, 3, '{"data": {"entered": 0, "changed": 2, "exited": 1}}', '[{"name": "upstream", "seen": 0, "limit": 0, "held": false, "allowed": false, "message": ""}, {"name": "keys", "seen": 0, "limit": 0, "held": false, "allowed": false, "message": ""}]'),
  (3, 'people', 'people', 'segment', 'delivering', 'SELECT
  id,
  city
FROM salesforce.contact', '89664f64b40393fe56239450699e961bd73a25205297c28cba1bf3fb787e7c1a', '{"anonymous_id": null, "called": null, "consent": null, "context": {}, "description": "", "destination": null, "destinations": [], "external_ids": {}, "file": "models/audiences/people.sql", "group": null, "guards": {"explicit": ["max_exited"], "max_changed": null, "max_entered": null, "max_exited": null, "min_rows": null}, "identify": {"membership_trait": null, "traits": {"city": {"column": "city", "drop_if_null": false, "hash": null, "mask": false, "normalize": null, "value": null}}}, "integrations": {}, "key": ["id"], "name": "people", "on_definition_change": null, "on_mapping_change": null, "on_new_column": null, "owner": null, "payload": "plain", "retiring": false, "tags": [], "track": {"changed": null, "entered": "Segment Entered", "exited": "Segment Exited", "initial": "send", "message_id": null, "properties": {}, "timestamp": null}, "user_id": "id"}', '727f52e15bcf1895e6abcfedb5f0855fb2a007cb1b18444bfe43fceefcb6f0c6', 'duckdb v2.0.0|id VARCHAR,city VARCHAR|4|6362404957545262543|42102809986696145603', TIMESTAMPTZ '2026-11-27T07:44:36.781944+00:00', TIMESTAMPTZ '2026-11-27T07:44:37.447965+00:00', NULL, 4, 4, 4, 1, 3, 1, 0, 0, 0, 0, 0, '{"data": {"entered": 1, "changed": 3, "exited": 1}}', '[{"name": "upstream", "seen": 0, "limit": 0, "held": false, "allowed": false, "message": ""}, {"name": "keys", "seen": 0, "limit": 0, "held": false, "allowed": false, "message": ""}]');
CREATE TABLE tailrace.doubtful (
  audience TEXT NOT NULL,
  run_seq BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  since TIMESTAMPTZ NOT NULL
);
INSERT INTO tailrace.doubtful VALUES
  ('people', 2, 2, TIMESTAMPTZ '2026-11-27T07:44:36.647187+00:00');
CREATE TABLE tailrace.extracts (
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
CREATE TABLE tailrace.installation (
  namespace TEXT NOT NULL,
  version BIGINT NOT NULL,
  created_at TIMESTAMPTZ NOT NULL
);
INSERT INTO tailrace.installation VALUES
  ('a namespace', 1, TIMESTAMPTZ '2026-11-27T07:44:35.005527+00:00');
CREATE TABLE tailrace.lock (
  name TEXT NOT NULL,
  owner TEXT NOT NULL,
  host TEXT NOT NULL,
  process BIGINT NOT NULL,
  run_id TEXT NOT NULL,
  expires_at TIMESTAMPTZ NOT NULL
);
INSERT INTO tailrace.lock VALUES
  ('ledger', '', '', 0, '', TIMESTAMPTZ '2026-11-27T07:44:35.038237+00:00');
CREATE TABLE tailrace.outbox__people (
  run_seq BIGINT,
  seq BIGINT,
  op TEXT,
  reason TEXT,
  base_v BIGINT,
  _blind BOOLEAN,
  _send BOOLEAN,
  _stays BOOLEAN,
  _at TIMESTAMPTZ,
  _since TIMESTAMPTZ,
  id TEXT,
  city TEXT,
  old__city TEXT
);
INSERT INTO tailrace.outbox__people VALUES
  (1, 1, 'entered', 'initial', 0, FALSE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', 'c1', 'Oslo', NULL),
  (1, 2, 'entered', 'initial', 0, FALSE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', 'c2', 'Bergen', NULL),
  (1, 3, 'entered', 'initial', 0, FALSE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', 'c3', 'Rome', NULL),
  (1, 4, 'entered', 'initial', 0, FALSE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', 'c4', 'Bonn', NULL),
  (1, 5, 'entered', 'initial', 0, FALSE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', 'c5', 'Lima', NULL),
  (2, 1, 'changed', 'data', 1, FALSE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', 'c1', 'Voss', 'Oslo'),
  (2, 2, 'changed', 'data', 1, FALSE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', 'c2', 'Paris', 'Bergen'),
  (2, 3, 'exited', 'data', 1, FALSE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:36.053259+00:00', 'c3', 'Rome', NULL),
  (3, 1, 'changed', 'data', 1, FALSE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', 'c1', 'Voss', 'Oslo'),
  (3, 2, 'changed', 'data', -2, TRUE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:36.848409+00:00', 'c2', 'Bergen', NULL),
  (3, 3, 'exited', 'data', 1, FALSE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:36.848409+00:00', 'c4', 'Bonn', NULL),
  (3, 4, 'changed', 'data', 1, FALSE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', 'c5', 'Cusco', 'Lima'),
  (3, 5, 'entered', 'data', 0, FALSE, TRUE, FALSE, NULL, TIMESTAMPTZ '2026-11-27T07:44:36.848409+00:00', 'c6', 'Turin', NULL);
CREATE TABLE tailrace.rejections (
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
INSERT INTO tailrace.rejections VALUES
  (2, 'people', 1, 'track', 'refused', '', 400, 1, NULL, NULL, FALSE, TIMESTAMPTZ '2026-11-27T07:44:36.541209+00:00', TIMESTAMPTZ '2026-11-27T07:44:36.541209+00:00', NULL),
  (2, 'people', 2, 'track', 'refused', '', 400, 1, NULL, NULL, TRUE, TIMESTAMPTZ '2026-11-27T07:44:36.600169+00:00', TIMESTAMPTZ '2026-11-27T07:44:36.600169+00:00', NULL);
CREATE TABLE tailrace.runs (
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
INSERT INTO tailrace.runs VALUES
  (1, '2026-11-27T07:44:35Z-test', 'sync', 'planned', TIMESTAMPTZ '2026-11-27T07:44:35.080216+00:00', NULL, NULL, '{"tailrace": "0.1.0", "engine": "duckdb v2.0.0"}', '[]', 0, NULL),
  (2, '2026-11-27T07:44:36Z-test', 'sync', 'planned', TIMESTAMPTZ '2026-11-27T07:44:36.029846+00:00', NULL, NULL, '{"tailrace": "0.1.0", "engine": "duckdb v2.0.0"}', '[]', 0, NULL),
  (3, '2026-11-27T07:44:36Z-test', 'sync', 'planned', TIMESTAMPTZ '2026-11-27T07:44:36.781944+00:00', NULL, NULL, '{"tailrace": "0.1.0", "engine": "duckdb v2.0.0"}', '[]', 0, NULL);
CREATE TABLE tailrace.snapshot__people (
  id TEXT,
  city TEXT,
  _v BIGINT,
  _since TIMESTAMPTZ,
  _gone BOOLEAN
);
INSERT INTO tailrace.snapshot__people VALUES
  ('c1', 'Oslo', 1, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', FALSE),
  ('c2', 'Bergen', 1, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', FALSE),
  ('c3', 'Rome', 2, TIMESTAMPTZ '2026-11-27T07:44:36.053259+00:00', TRUE),
  ('c4', 'Bonn', 1, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', FALSE),
  ('c5', 'Lima', 1, TIMESTAMPTZ '2026-11-27T07:44:35.203417+00:00', FALSE);
