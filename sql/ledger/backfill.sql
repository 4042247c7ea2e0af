-- Gives members the value of a column that was not recorded before, as if it always had been.
UPDATE snapshot AS s
SET _ = m._
FROM model AS m
WHERE NOT s._gone AND EVERY_COLUMN(keys, m._ = s._)
