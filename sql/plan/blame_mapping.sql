-- A member that moved in nothing but columns the mapping names for the first time.
UPDATE transitions AS t
SET reason = 'mapping'
WHERE t.op = 'changed' AND NOT ANY_COLUMN(compared, t._ IS DISTINCT FROM t.old___)
