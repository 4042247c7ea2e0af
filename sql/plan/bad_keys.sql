-- The model's keys that are NULL or stand more than once, with how often.
CREATE TEMPORARY TABLE bad_keys AS
SELECT EACH_COLUMN(keys, m._), COUNT(*) AS _times
FROM model AS m
GROUP BY EACH_COLUMN(keys, m._)
HAVING COUNT(*) > 1 OR NOT EVERY_COLUMN(keys, m._ IS NOT NULL)
