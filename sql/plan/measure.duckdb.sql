-- How many rows the model gives, and a fingerprint of them that no order of rows changes.
SELECT COUNT(*), CAST(BIT_XOR(h) AS TEXT), CAST(SUM(h) AS TEXT)
FROM (
  SELECT
    HASH(
      EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._),
      EACH_COLUMN(listed, LEN(m._)), EACH_COLUMN(hollow, CAST(m._ AS TEXT)),
      EACH_COLUMN(wide, CAST(m._ AS DOUBLE))
    ) AS h
  FROM model AS m
) AS hashed
