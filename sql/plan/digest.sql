-- One value for all transitions of a plan, whatever their order: equal plans have equal digests.
SELECT COUNT(*), CAST(BIT_XOR(h) AS TEXT) || ' ' || CAST(SUM(h) AS TEXT)
FROM (
  SELECT
    HASH(
      t.op, t.reason, t.base_v, t._blind, t._send, t._stays,
      EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___),
      EACH_COLUMN(listed, LEN(t._)), EACH_COLUMN(hollow, CAST(t._ AS TEXT)),
      EACH_COLUMN(wide, CAST(t._ AS DOUBLE))
    ) AS h
  FROM transitions AS t
) AS hashed
