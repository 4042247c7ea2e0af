-- Columns that were read anew for every row; only rows that differ are written.
MERGE INTO landed AS t
USING (
  SELECT * FROM (
    SELECT
      EACH_COLUMN(keys, f._),
      EACH_COLUMN(columns, f._),
      ROW_NUMBER() OVER (PARTITION BY EACH_COLUMN(keys, f._) ORDER BY EACH_COLUMN(keys, f._)) AS _n
    FROM fresh AS f
  ) AS numbered
  WHERE _n = 1
) AS s
ON EVERY_COLUMN(keys, t._ = s._)
WHEN MATCHED AND ANY_COLUMN(columns, t._ IS DISTINCT FROM s._) THEN
  UPDATE SET EACH_COLUMN(columns, _ = s._)
