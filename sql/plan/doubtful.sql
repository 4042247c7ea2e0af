-- The last attempts without a known outcome, one a key, and a version that nobody has seen for what
-- is said instead. It hangs on the attempt, so that a plan can be made again to the letter.
CREATE TEMPORARY TABLE tried AS
SELECT
  o.op, o.base_v, o._blind, -d.run_seq AS _epoch,
  COALESCE(o._at, a.planned_at) AS _at,
  EACH_COLUMN(keys, o._),
  EACH_COLUMN(known, CAST(o._ AS _TYPE)),
  EACH_COLUMN(fresh, CAST(NULL AS _TYPE))
FROM doubtful AS d
JOIN outbox AS o ON o.run_seq = d.run_seq AND o.seq = d.seq
JOIN audience_runs AS a ON a.run_seq = d.run_seq AND a.audience = d.audience
WHERE d.audience = :audience
