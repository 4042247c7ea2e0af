-- A transition was refused.
INSERT INTO rejections (
  run_seq, audience, seq, kind, reason, path, status, attempts, message_id, payload, doubtful,
  first_seen, last_seen
)
VALUES (
  :run, :audience, :seq, :kind, :reason, :path, :status, :attempts, :message_id, :payload, :doubtful,
  :now, :now
)
