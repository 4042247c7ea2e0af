-- What the earlier definition gives today for the keys that moved.
CREATE TEMPORARY TABLE earlier AS
SELECT EACH_COLUMN(keys, m._), EACH_COLUMN(compared, m._)
FROM model AS m
WHERE EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = m._))
