-- A person's transitions in one audience, as they were planned, with what became of them.
SELECT
  o.run_seq, a.planned_at, a.mapping, k.acked_at, x.reason AS refused_for,
  o.seq, o.op, o.reason, o.base_v, o._blind, o._send, o._stays, o._at,
  EACH_COLUMN(keys, o._), EACH_COLUMN(columns, o._), EACH_COLUMN(columns, o.old___)
FROM outbox AS o
JOIN audience_runs AS a ON a.audience = :audience AND a.run_seq = o.run_seq
LEFT JOIN acks AS k
  ON k.audience = :audience AND k.run_seq = o.run_seq
  AND o.seq >= k.first_seq AND o.seq <= k.last_seq
LEFT JOIN rejections AS x
  ON x.audience = :audience AND x.run_seq = o.run_seq AND x.seq = o.seq
WHERE ANY_COLUMN(names, CAST(o._ AS TEXT) = :person)
ORDER BY o.run_seq, o.seq
