-- The transitions of an audience that were delivered and are not purged, with when.
SELECT o.*, k.acked_at AS _acked_at
FROM outbox AS o
JOIN acks AS k
  ON k.audience = :audience AND k.run_seq = o.run_seq
  AND o.seq >= k.first_seq AND o.seq <= k.last_seq
WHERE NOT EXISTS (
  SELECT 1 FROM rejections AS r
  WHERE r.audience = :audience AND r.run_seq = o.run_seq AND r.seq = o.seq
)
