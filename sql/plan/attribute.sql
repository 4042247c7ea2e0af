-- A transition that the earlier definition would have given on the same data is the data's doing;
-- every other one is the definition's.
UPDATE transitions AS t
SET reason = 'definition'
WHERE CASE t.op
  WHEN 'entered' THEN NOT EXISTS (
    SELECT 1 FROM earlier AS e WHERE EVERY_COLUMN(keys, e._ = t._)
  )
  WHEN 'exited' THEN EXISTS (
    SELECT 1 FROM earlier AS e WHERE EVERY_COLUMN(keys, e._ = t._)
  )
  ELSE NOT EXISTS (
    SELECT 1 FROM earlier AS e
    WHERE EVERY_COLUMN(keys, e._ = t._)
      AND EVERY_COLUMN(compared, e._ IS NOT DISTINCT FROM t._)
  )
END
