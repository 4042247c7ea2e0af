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
