-- name: mark_mapping_reason
-- A member that changed only in columns that the mapping names for the first time.
UPDATE transitions AS t
SET reason = 'mapping'
WHERE t.op = 'changed' AND NOT ANY_COLUMN(compared, AS_SENT(t._) IS DISTINCT FROM AS_SENT(t.old___))

-- name: keep_user_member
-- A row exits, and another row of the audience has the same user: the row's event is sent, and the
-- user remains a member.
UPDATE transitions AS t
SET _stays = TRUE
WHERE t.op = 'exited' AND EXISTS (SELECT 1 FROM model AS m WHERE EVERY_COLUMN(users, AS_SENT(m._) = AS_SENT(t._)))

-- name: keep_former_user
-- A row changes its user, and another row has the former one: the new user enters and the former user
-- does not exit, as when two rows swap their users.
UPDATE transitions AS t
SET EACH_COLUMN(identity, old___ = NULL)
WHERE t.op = 'changed' AND NOT t._blind
  AND ANY_COLUMN(identity, AS_SENT(t._) IS DISTINCT FROM AS_SENT(t.old___))
  AND EXISTS (SELECT 1 FROM model AS m WHERE EVERY_COLUMN(identity, AS_SENT(m._) = AS_SENT(t.old___)))

-- name: suppress
-- Transitions of this reason are recorded as delivered without being sent.
UPDATE transitions SET _send = FALSE WHERE reason = :reason

-- name: suppress_all
-- Every transition is recorded as delivered without being sent.
UPDATE transitions SET _send = FALSE WHERE _send

-- name: resend_mapping
-- Every member without a transition, sent again because the mapping changed.
INSERT INTO transitions (op, reason, base_v, _blind, _send, _since, keys, columns, old__columns)
SELECT
  'changed', 'mapping', s._v, TRUE, TRUE, s._since,
  EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._), EACH_COLUMN(columns, CAST(NULL AS _TYPE))
FROM model AS m
JOIN snapshot AS s ON EVERY_COLUMN(keys, s._ = m._)
WHERE NOT s._gone
  AND NOT EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = m._))

-- name: resend_mapping_whole
-- A member that changed as well gets all of its messages, not only those with a changed value. One whose
-- user changed gets them already.
UPDATE transitions AS t
SET _blind = TRUE
WHERE t.op = 'changed' AND NOT ANY_COLUMN(identity, AS_SENT(t._) IS DISTINCT FROM AS_SENT(t.old___))

-- name: resend_members
-- Every member without a transition enters again, under a new messageId.
INSERT INTO transitions (op, reason, base_v, _blind, _send, _since, keys, columns, old__columns)
SELECT
  'entered', 'initial', -:run, TRUE, TRUE, s._since,
  EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._), EACH_COLUMN(columns, CAST(NULL AS _TYPE))
FROM model AS m
JOIN snapshot AS s ON EVERY_COLUMN(keys, s._ = m._)
WHERE NOT s._gone
  AND NOT EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = m._))

-- name: resend_changed
-- Members that entered or changed enter again as well, under a new messageId.
UPDATE transitions
SET op = 'entered', reason = 'initial', base_v = -:run, _blind = TRUE
WHERE op <> 'exited'

-- name: keep_initial
-- A rejected member of the first delivery keeps the reason `initial` when it is sent again.
UPDATE transitions AS t
SET reason = 'initial'
WHERE t.op = 'entered' AND t.reason = 'data' AND EXISTS (
  SELECT 1
  FROM rejections AS r
  JOIN outbox AS o ON o.run_seq = r.run_seq AND o.seq = r.seq
  WHERE r.sync_key = :sync_key AND r.resolved_at IS NULL AND o.reason = 'initial'
    AND EVERY_COLUMN(keys, o._ = t._)
)

-- name: rejected_resends
-- The members that were to be sent again whole, and were rejected. Attempts with an unknown outcome
-- are those of `last_attempts`.
SELECT
  MAX(o.op) AS op, MIN(o.reason) AS reason, MIN(o.base_v) AS base_v, EACH_COLUMN(keys, o._)
FROM rejections AS r
JOIN outbox AS o ON o.run_seq = r.run_seq AND o.seq = r.seq
WHERE r.sync_key = :sync_key AND r.resolved_at IS NULL AND o._blind AND o.op <> 'exited'
  AND NOT EXISTS (
    SELECT 1 FROM unconfirmed AS u
    WHERE u.sync_key = r.sync_key AND u.run_seq = r.run_seq AND u.seq = r.seq
  )
GROUP BY EACH_COLUMN(keys, o._)

-- name: repeat_rejected_whole
-- Such a member whose values changed since is sent whole: it lacks more than the change.
UPDATE transitions AS t
SET op = d.op, base_v = d.base_v, _blind = TRUE
FROM rejected_resend AS d
WHERE t.op = 'changed' AND EVERY_COLUMN(keys, d._ = t._)
  AND NOT ANY_COLUMN(identity, AS_SENT(t._) IS DISTINCT FROM AS_SENT(t.old___))

-- name: resend_rejected
-- Such a member whose values are the recorded ones: no difference to the snapshot would find it.
INSERT INTO transitions (op, reason, base_v, _blind, _send, _since, keys, columns, old__columns)
SELECT
  d.op, d.reason, d.base_v, TRUE, TRUE, s._since,
  EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._), EACH_COLUMN(columns, CAST(NULL AS _TYPE))
FROM model AS m
JOIN snapshot AS s ON EVERY_COLUMN(keys, s._ = m._)
JOIN rejected_resend AS d ON EVERY_COLUMN(keys, d._ = m._)
WHERE NOT s._gone
  AND NOT EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = m._))

-- name: keep_none
-- No member was rejected before, so a retry plans nothing.
DELETE FROM transitions

-- name: keep_rejected
-- A retry plans only members that were rejected before.
DELETE FROM transitions AS t
WHERE NOT EXISTS (
  SELECT 1
  FROM rejections AS r
  JOIN outbox AS o ON o.run_seq = r.run_seq AND o.seq = r.seq
  WHERE r.sync_key = :sync_key AND r.resolved_at IS NULL AND EVERY_COLUMN(keys, o._ = t._)
)
