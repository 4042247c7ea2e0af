-- Everybody who is a member, as entering at a destination that has not heard of anyone, or not
-- since it was retired: under ids that no receiver has seen.
CREATE TEMPORARY TABLE transitions AS
SELECT
  'entered' AS op, 'initial' AS reason, -CAST(:run AS BIGINT) AS base_v, FALSE AS _blind, TRUE AS _send,
  FALSE AS _stays, CAST(NULL AS TIMESTAMPTZ) AS _at, s._since,
  EACH_COLUMN(keys, s._), EACH_COLUMN(columns, s._), EACH_COLUMN(columns, CAST(NULL AS _TYPE), old__)
FROM snapshot AS s
WHERE NOT s._gone
