-- What an audience still owes: transitions refused and not yet settled, and doubtful keys.
SELECT
  (SELECT COUNT(*) FROM rejections WHERE audience = :audience AND resolved_at IS NULL),
  (SELECT COUNT(*) FROM doubtful WHERE audience = :audience)
