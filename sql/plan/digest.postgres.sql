-- One value for all transitions of a plan, whatever their order: equal plans have equal digests.
SELECT COUNT(*), CAST(SUM(CAST(CAST('x' || SUBSTR(h, 1, 15) AS BIT(60)) AS BIGINT)) AS TEXT)
FROM (
  SELECT
    MD5(CAST(ROW(
      t.op, t.reason, t.base_v, t._blind, t._send, t._stays,
      EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___)
    ) AS TEXT)) AS h
  FROM transitions AS t
) AS hashed
