-- A bad key is never read as an entry, a change or an exit.
DELETE FROM transitions AS t
WHERE
  NOT EVERY_COLUMN(keys, t._ IS NOT NULL)
  OR EXISTS (SELECT 1 FROM bad_keys AS b WHERE EVERY_COLUMN(keys, b._ = t._))
