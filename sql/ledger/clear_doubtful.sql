-- A key whose outcome is known by now, or whose last attempt is replaced by a newer one.
DELETE FROM doubtful AS d
WHERE d.audience = :audience
  AND EXISTS (
    SELECT 1
    FROM outbox AS tried
    JOIN outbox AS fresh ON fresh.run_seq = :run AND EVERY_COLUMN(keys, fresh._ = tried._)
    LEFT JOIN rejections AS r
      ON r.run_seq = :run AND r.audience = :audience AND r.seq = fresh.seq
    WHERE tried.run_seq = d.run_seq
      AND tried.seq = d.seq
      AND (r.seq IS NULL OR r.doubtful)
  )
