-- A handful of transitions, by which the size of calls is estimated.
SELECT
  ROW_NUMBER() OVER (ORDER BY EACH_COLUMN(keys, o._)),
  o.op, o.reason, o.base_v, o._blind, o._send, o._stays, o._at,
  EACH_COLUMN(keys, o._), EACH_COLUMN(columns, o._), EACH_COLUMN(columns, o.old___)
FROM (SELECT * FROM transitions AS t ORDER BY EACH_COLUMN(keys, t._) LIMIT :rows_max) AS o
