-- A row becomes another user, and another row is the user that it was: without an old user, the
-- new one enters and nobody leaves. Two rows that swap their users need this most.
UPDATE transitions AS t
SET EACH_COLUMN(identity, old___ = NULL)
WHERE t.op = 'changed' AND NOT t._blind
  AND ANY_COLUMN(identity, t._ IS DISTINCT FROM t.old___)
  AND EXISTS (SELECT 1 FROM model AS m WHERE EVERY_COLUMN(identity, m._ = t.old___))
