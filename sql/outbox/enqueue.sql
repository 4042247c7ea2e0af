-- Writes a plan's transitions down, numbered so that a user's stand together.
INSERT INTO outbox (run_seq, seq, op, reason, base_v, _blind, _send, _since, keys, columns, old__columns)
SELECT
  :run,
  ROW_NUMBER() OVER (ORDER BY EACH_COLUMN(identity, t._), EACH_COLUMN(keys, t._)),
  t.op, t.reason, t.base_v, t._blind, t._send, t._since,
  EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___)
FROM transitions AS t
