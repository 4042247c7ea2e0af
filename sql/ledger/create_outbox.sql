-- The transitions of an audience, planned and not yet forgotten.
CREATE TABLE outbox AS
SELECT CAST(0 AS BIGINT) AS run_seq, CAST(0 AS BIGINT) AS seq, CAST('' AS TEXT) AS op,
       CAST('' AS TEXT) AS reason, CAST(0 AS BIGINT) AS base_v, FALSE AS _blind, FALSE AS _send,
       FALSE AS _stays, CAST(NULL AS TIMESTAMPTZ) AS _at, CAST(NULL AS TIMESTAMPTZ) AS _since,
       EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._), EACH_COLUMN(columns, m._, old__)
FROM model AS m
WHERE FALSE
