-- Transitions counted by what decides which calls they are worth.
SELECT
  t.op, t.reason, t._send, COALESCE(t._stays, FALSE) AS stays,
  t._blind OR ANY_COLUMN(track, t._ IS DISTINCT FROM t.old___) AS track_moved,
  t._blind OR ANY_COLUMN(identify, t._ IS DISTINCT FROM t.old___) AS identify_moved,
  t._blind OR ANY_COLUMN(grouped, t._ IS DISTINCT FROM t.old___) AS group_moved,
  NOT t._blind AND ANY_COLUMN(consent, t._ IS DISTINCT FROM t.old___) AS consent_moved,
  NOT t._blind AND ANY_COLUMN(identity, t._ IS DISTINCT FROM t.old___) AS identity_moved,
  ANY_COLUMN(identity, t.old___ IS NOT NULL) AS had_identity,
  EVERY_COLUMN(group_id, t._ IS NOT NULL) AS has_group,
  t.op = 'entered' AND t.base_v = :never AS is_new,
  COUNT(*) AS members
FROM transitions AS t
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
