-- The users who have several transitions in a plan.
SELECT EACH_COLUMN(identity, t._)
FROM transitions AS t
GROUP BY EACH_COLUMN(identity, t._)
HAVING COUNT(*) > 1
