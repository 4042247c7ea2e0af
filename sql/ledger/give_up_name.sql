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
