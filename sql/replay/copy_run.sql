-- What one run delivered, written down for another destination; what was refused is left out.
INSERT INTO outbox (
  run_seq, seq, op, reason, base_v, _blind, _send, _stays, _at, _since, keys, columns, old__columns
)
SELECT
  o.run_seq, ROW_NUMBER() OVER (ORDER BY o.seq), o.op, o.reason, o.base_v, o._blind, o._send,
  o._stays, o._at, o._since,
  EACH_COLUMN(keys, o._), EACH_COLUMN(columns, o._), EACH_COLUMN(columns, o.old___)
FROM source AS o
WHERE o.run_seq = :run
  AND NOT EXISTS (
    SELECT 1 FROM rejections AS r
    WHERE r.run_seq = :run AND r.audience = :audience AND r.seq = o.seq
  )
