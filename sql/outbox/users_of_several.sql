-- The transitions of users who have several in a plan. Only the users are held to tell them apart,
-- however wide the rows.
SELECT t.*
FROM transitions AS t
WHERE EXISTS (
  SELECT 1
  FROM (
    SELECT EACH_COLUMN(identity, d._)
    FROM transitions AS d
    GROUP BY EACH_COLUMN(identity, d._)
    HAVING COUNT(*) > 1
  ) AS several
  WHERE EVERY_COLUMN(identity, several._ = t._)
)
