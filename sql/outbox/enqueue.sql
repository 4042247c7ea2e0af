-- Writes a plan's transitions down, numbered so that a user's stand together, and what leaves
-- before what comes: who is known by another row from today on is a member in the end.
INSERT INTO outbox (
  run_seq, seq, op, reason, base_v, _blind, _send, _stays, _at, _since, keys, columns, old__columns
)
SELECT
  :run,
  ROW_NUMBER() OVER (
    ORDER BY EACH_COLUMN(identity, t._), CASE WHEN t.op = 'exited' THEN 0 ELSE 1 END,
      EACH_COLUMN(keys, t._)
  ),
  t.op, t.reason, t.base_v, t._blind, t._send, COALESCE(t._stays, FALSE), t._at, t._since,
  EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___)
FROM transitions AS t
