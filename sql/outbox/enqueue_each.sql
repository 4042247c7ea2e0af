-- Writes transitions down where each is of a user of its own: numbered as they come, after those
-- that stand there, since to sort them would take most of the time and the memory of a first
-- delivery.
INSERT INTO outbox (
  run_seq, seq, op, reason, base_v, _blind, _send, _stays, _at, _since, keys, columns, old__columns
)
SELECT
  :run, :after + ROW_NUMBER() OVER (),
  t.op, t.reason, t.base_v, t._blind, t._send, COALESCE(t._stays, FALSE), t._at, t._since,
  EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___)
FROM transitions AS t
