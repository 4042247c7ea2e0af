-- name: blame_mapping
-- A member that moved in nothing but columns the mapping names for the first time.
UPDATE transitions AS t
SET reason = 'mapping'
WHERE t.op = 'changed' AND NOT ANY_COLUMN(compared, t._ IS DISTINCT FROM t.old___)

-- name: spare_exits
-- A row leaves, and another row of the audience is the same user: the row's own event is sent, and
-- the user stays a member.
UPDATE transitions AS t
SET _stays = TRUE
WHERE t.op = 'exited' AND EXISTS (SELECT 1 FROM model AS m WHERE EVERY_COLUMN(who, m._ = t._))

-- name: spare_moves
-- A row becomes another user, and another row is the user that it was: without an old user, the
-- new one enters and nobody leaves. Two rows that swap their users need this most.
UPDATE transitions AS t
SET EACH_COLUMN(identity, old___ = NULL)
WHERE t.op = 'changed' AND NOT t._blind
  AND ANY_COLUMN(identity, t._ IS DISTINCT FROM t.old___)
  AND EXISTS (SELECT 1 FROM model AS m WHERE EVERY_COLUMN(identity, m._ = t.old___))

-- name: silence
-- These transitions are recorded as delivered without being sent.
UPDATE transitions SET _send = FALSE WHERE reason = :reason

-- name: silence_all
-- Nothing of this plan is sent; the snapshot takes it over as if it had been.
UPDATE transitions SET _send = FALSE WHERE _send

-- name: send_mapping
-- Every member that did not move, said again by a mapping that did.
INSERT INTO transitions (op, reason, base_v, _blind, _send, _since, keys, columns, old__columns)
SELECT
  'changed', 'mapping', s._v, TRUE, TRUE, s._since,
  EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._), EACH_COLUMN(columns, CAST(NULL AS _TYPE))
FROM model AS m
JOIN snapshot AS s ON EVERY_COLUMN(keys, s._ = m._)
WHERE NOT s._gone
  AND NOT EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = m._))

-- name: send_again
-- Every member that did not move enters anew, under an id that no receiver has seen.
INSERT INTO transitions (op, reason, base_v, _blind, _send, _since, keys, columns, old__columns)
SELECT
  'entered', 'initial', -:run, TRUE, TRUE, s._since,
  EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._), EACH_COLUMN(columns, CAST(NULL AS _TYPE))
FROM model AS m
JOIN snapshot AS s ON EVERY_COLUMN(keys, s._ = m._)
WHERE NOT s._gone
  AND NOT EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = m._))

-- name: restate_changed
-- Whoever moved enters anew as well, under an id that no receiver has seen.
UPDATE transitions
SET op = 'entered', reason = 'initial', base_v = -:run, _blind = TRUE
WHERE op <> 'exited'

-- name: keep_initial
-- A member of the first result set that was refused then is still one of the first result set.
UPDATE transitions AS t
SET reason = 'initial'
WHERE t.op = 'entered' AND t.reason = 'data' AND EXISTS (
  SELECT 1
  FROM rejections AS r
  JOIN outbox AS o ON o.run_seq = r.run_seq AND o.seq = r.seq
  WHERE r.audience = :audience AND r.resolved_at IS NULL AND o.reason = 'initial'
    AND EVERY_COLUMN(keys, o._ = t._)
)

-- name: keep_none
-- Nothing was refused before, so there is nothing to try again.
DELETE FROM transitions

-- name: keep_rejected
-- Only what was refused before is planned; the rest waits for its own run.
DELETE FROM transitions AS t
WHERE NOT EXISTS (
  SELECT 1
  FROM rejections AS r
  JOIN outbox AS o ON o.run_seq = r.run_seq AND o.seq = r.seq
  WHERE r.audience = :audience AND r.resolved_at IS NULL AND EVERY_COLUMN(keys, o._ = t._)
)
