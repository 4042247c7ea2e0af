-- The members of an audience as last acknowledged, in the model's own types.
CREATE TABLE snapshot AS
SELECT EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._),
       CAST(0 AS BIGINT) AS _v, CAST(NULL AS TIMESTAMPTZ) AS _since, FALSE AS _gone
FROM model AS m
WHERE FALSE
