-- name: members
-- The number of members in the snapshot.
SELECT COUNT(*) FROM snapshot AS s WHERE NOT s._gone

-- name: size
-- A sync and the number of members in its snapshot.
SELECT CAST(:sync_key AS TEXT) AS sync_key, COUNT(*) AS members FROM snapshot AS s WHERE NOT s._gone

-- name: sizes
-- The numbers of members of several syncs.
SELECT z.sync_key, z.members FROM each_size AS z

-- name: growth
-- The growth of the audience in members. Keys that enter as members or exit as former ones count 0.
SELECT COALESCE(SUM(
  CASE
    WHEN t.op = 'entered' AND (s._v IS NULL OR s._gone) THEN 1
    WHEN t.op = 'exited' AND NOT s._gone THEN -1
    ELSE 0
  END
), 0)
FROM transitions AS t
LEFT JOIN snapshot AS s ON EVERY_COLUMN(keys, s._ = t._)

-- name: summary
-- The numbers of transitions by the facts that decide their messages; see TransitionGroup. The groups
-- of columns are those of Audience.column_groups, in their order.
SELECT
  t.op, t.reason, t._send, COALESCE(t._stays, FALSE) AS stays,
  t._blind,
  NOT t._blind AND ANY_COLUMN(group_1, AS_SENT(t._) IS DISTINCT FROM AS_SENT(t.old___)) AS changed_1,
  NOT t._blind AND ANY_COLUMN(group_2, AS_SENT(t._) IS DISTINCT FROM AS_SENT(t.old___)) AS changed_2,
  NOT t._blind AND ANY_COLUMN(group_3, AS_SENT(t._) IS DISTINCT FROM AS_SENT(t.old___)) AS changed_3,
  NOT t._blind AND ANY_COLUMN(group_4, AS_SENT(t._) IS DISTINCT FROM AS_SENT(t.old___)) AS changed_4,
  NOT t._blind AND ANY_COLUMN(identity, AS_SENT(t._) IS DISTINCT FROM AS_SENT(t.old___)) AS user_changed,
  ANY_COLUMN(identity, t.old___ IS NOT NULL) AS had_user,
  EVERY_COLUMN(conditions, t._ IS NOT NULL) AS complete,
  t.op = 'entered' AND t.base_v = :first_version AS is_new,
  ANY_COLUMN(ids, t._ IS NOT NULL) AS has_id,
  COUNT(*) AS members,
  EACH_COLUMN(places, t._)
FROM transitions AS t
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, EACH_COLUMN(places, t._)

-- name: rows
-- The number of rows of a model.
SELECT COUNT(*) FROM model AS m

-- name: count_unconverted
-- How many members differ from their recorded value in a column whose recorded values cannot be
-- converted to its type of today. Compared as text, since no other type is common to both.
SELECT COUNT(*)
FROM model AS m
JOIN snapshot AS s ON EVERY_COLUMN(keys, s._ = m._)
WHERE NOT s._gone AND ANY_COLUMN(unconverted, CAST(m._ AS TEXT) IS DISTINCT FROM CAST(s._ AS TEXT))

-- name: samples
-- A few transitions of each operation, shown masked.
SELECT s.op, s.reason, EACH_COLUMN(keys, s._), EACH_COLUMN(places, s._)
FROM (
  SELECT t.op, t.reason, EACH_COLUMN(keys, t._), EACH_COLUMN(places, t._),
         ROW_NUMBER() OVER (
           PARTITION BY EACH_COLUMN(places, t._), t.op ORDER BY EACH_COLUMN(keys, t._)
         ) AS _rank
  FROM transitions AS t
) AS s
WHERE s._rank <= :rows_max
ORDER BY s.op, s._rank

-- name: first_transitions
-- A few transitions, from which the size of messages is estimated.
SELECT
  ROW_NUMBER() OVER (ORDER BY EACH_COLUMN(keys, o._)),
  o.op, o.reason, o.base_v, o._blind, o._send, o._stays, o._at,
  EACH_COLUMN(keys, o._), EACH_COLUMN(columns, o._), EACH_COLUMN(columns, o.old___)
FROM (SELECT * FROM transitions AS t ORDER BY EACH_COLUMN(keys, t._) LIMIT :rows_max) AS o

-- name: preview
-- The first transitions of each operation, with all columns. The keys are selected first, so that only
-- these rows are read completely.
SELECT
  ROW_NUMBER() OVER (ORDER BY t.op, EACH_COLUMN(keys, t._)),
  t.op, t.reason, t.base_v, t._blind, t._send, t._stays, t._at,
  EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___)
FROM transitions AS t
JOIN (
  SELECT n.op, EACH_COLUMN(keys, n._),
         ROW_NUMBER() OVER (PARTITION BY n.op ORDER BY EACH_COLUMN(keys, n._)) AS _place
  FROM transitions AS n
) AS s ON s.op = t.op AND EVERY_COLUMN(keys, s._ = t._)
WHERE s._place <= :rows_max
ORDER BY t.op, EACH_COLUMN(keys, t._)

-- name: digest
-- One value for all transitions of a plan, independent of their order: equal plans have equal digests.
SELECT COUNT(*), CAST(BIT_XOR(h) AS TEXT) || ' ' || CAST(SUM(h) AS TEXT)
FROM (
  SELECT
    HASH(
      t.op, t.reason, t.base_v, t._blind, t._send, t._stays,
      EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___),
      EACH_COLUMN(listed, LEN(t._)), EACH_COLUMN(hollow, CAST(t._ AS TEXT)),
      EACH_COLUMN(wide, CAST(t._ AS DOUBLE))
    ) AS h
  FROM transitions AS t
) AS hashed

-- name: digest (postgres)
-- One value for all transitions of a plan, independent of their order: equal plans have equal digests.
SELECT COUNT(*), CAST(SUM(CAST(CAST('x' || SUBSTR(h, 1, 15) AS BIT(60)) AS BIGINT)) AS TEXT)
FROM (
  SELECT
    MD5(CAST(ROW(
      t.op, t.reason, t.base_v, t._blind, t._send, t._stays,
      EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___)
    ) AS TEXT)) AS h
  FROM transitions AS t
) AS hashed

-- name: digest (mariadb)
-- One value for all transitions of a plan, independent of their order: equal plans have equal digests.
SELECT COUNT(*), CAST(SUM(CAST(CONV(LEFT(h, 15), 16, 10) AS UNSIGNED)) AS CHAR)
FROM (
  SELECT
    MD5(JSON_ARRAY(
      t.op, t.reason, t.base_v, t._blind, t._send, t._stays,
      EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___)
    )) AS h
  FROM transitions AS t
) AS hashed

-- name: new_users
-- An empty table for users who may be new to a destination.
CREATE TEMPORARY TABLE new_users AS SELECT CAST('' AS TEXT) AS user_known_as WHERE FALSE

-- name: add_new_users
-- Users who enter one of several audiences for the first time.
INSERT INTO new_users (user_known_as)
SELECT DISTINCT e.user_known_as FROM entering_users AS e

-- name: entering_users
-- Users who enter an audience for the first time.
SELECT CONCAT(EACH_COLUMN(who, CAST(t._ AS TEXT))) AS user_known_as
FROM transitions AS t
WHERE t.op = 'entered' AND t.base_v = :first_version AND EVERY_COLUMN(who, t._ IS NOT NULL)

-- name: remove_known_users
-- Removes users who are or were members of an audience of the destination.
DELETE FROM new_users AS n
WHERE EXISTS (SELECT 1 FROM snapshot AS s WHERE EVERY_COLUMN(who, CAST(s._ AS TEXT) = n.user_known_as))

-- name: count_new_users
-- The number of users who are new to a destination.
SELECT COUNT(DISTINCT n.user_known_as) FROM new_users AS n
