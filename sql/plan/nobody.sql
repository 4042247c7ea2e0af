-- A snapshot without members, for an audience that was never delivered.
CREATE TEMPORARY TABLE nobody AS
SELECT EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._),
       CAST(0 AS BIGINT) AS _v, CAST(NULL AS TIMESTAMPTZ) AS _since, FALSE AS _gone
FROM model AS m
WHERE FALSE
