-- What the earlier definition gives today for the keys that moved, in the types of today.
CREATE TEMPORARY TABLE earlier AS
SELECT EACH_COLUMN(keys, m._), EACH_COLUMN(compared, CAST(m._ AS _TYPE))
FROM model AS m
WHERE EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = m._))
