-- A planned key whose last attempt has no known outcome: the same attempt keeps its id and
-- its moment; anything
-- else is sent whole, under an id that no receiver has seen. It is sent even where the rest is only
-- recorded: nobody knows what the receiver holds.
UPDATE transitions AS t
SET
  _send = TRUE,
  _blind = CASE
    WHEN d.op = t.op AND EVERY_COLUMN(columns, d._ IS NOT DISTINCT FROM t._) THEN d._blind
    ELSE TRUE
  END,
  base_v = CASE
    WHEN d.op = t.op AND EVERY_COLUMN(columns, d._ IS NOT DISTINCT FROM t._) THEN d.base_v
    ELSE d._epoch
  END,
  _at = CASE
    WHEN d.op = t.op AND EVERY_COLUMN(columns, d._ IS NOT DISTINCT FROM t._) THEN d._at
  END
FROM tried AS d
WHERE EVERY_COLUMN(keys, d._ = t._)
