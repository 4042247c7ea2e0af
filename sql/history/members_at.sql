-- Who was a member at a moment: whoever's last settled transition until then was no exit.
SELECT EACH_COLUMN(keys, w._)
FROM (
  SELECT
    EACH_COLUMN(keys, o._), o.op,
    ROW_NUMBER() OVER (PARTITION BY EACH_COLUMN(keys, o._) ORDER BY o.run_seq DESC) AS place
  FROM outbox AS o
  JOIN acks AS k
    ON k.audience = :audience AND k.run_seq = o.run_seq
    AND o.seq >= k.first_seq AND o.seq <= k.last_seq
  WHERE k.acked_at <= :moment
    AND NOT EXISTS (
      SELECT 1 FROM rejections AS r
      WHERE r.audience = :audience AND r.run_seq = o.run_seq AND r.seq = o.seq
    )
) AS w
WHERE w.place = 1 AND w.op <> 'exited'
ORDER BY EACH_COLUMN(keys, w._)
