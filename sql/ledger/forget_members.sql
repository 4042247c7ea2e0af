-- Takes out what the snapshot says of the keys that a settled run moved.
DELETE FROM snapshot AS s
WHERE EXISTS (
  SELECT 1 FROM settled AS a WHERE EVERY_COLUMN(keys, a._ = s._)
)
