-- A row leaves, and another row of the audience is the same user: the row's own event is sent, and
-- the user stays a member.
UPDATE transitions AS t
SET _stays = TRUE
WHERE t.op = 'exited' AND EXISTS (SELECT 1 FROM model AS m WHERE EVERY_COLUMN(who, m._ = t._))
