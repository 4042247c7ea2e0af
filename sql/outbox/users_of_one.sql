-- The transitions of users who have no other one in a plan, and those of nobody.
SELECT t.*
FROM transitions AS t
WHERE NOT EXISTS (
  SELECT 1
  FROM (
    SELECT EACH_COLUMN(identity, d._)
    FROM transitions AS d
    GROUP BY EACH_COLUMN(identity, d._)
    HAVING COUNT(*) > 1
  ) AS several
  WHERE EVERY_COLUMN(identity, several._ = t._)
)
