-- name: shared_users
-- The users who have several transitions in a plan.
SELECT EACH_COLUMN(identity, t._)
FROM transitions AS t
GROUP BY EACH_COLUMN(identity, t._)
HAVING COUNT(*) > 1

-- name: of_shared_users
-- The transitions of these users. Only the users are kept in memory, not their rows.
SELECT t.*
FROM transitions AS t
WHERE EXISTS (SELECT 1 FROM users AS u WHERE EVERY_COLUMN(identity, u._ = t._))

-- name: of_single_users
-- The transitions of all other users, and those without a user.
SELECT t.*
FROM transitions AS t
WHERE NOT EXISTS (SELECT 1 FROM users AS u WHERE EVERY_COLUMN(identity, u._ = t._))

-- name: enqueue
-- Saves the transitions of a plan, numbered so that those of a user are adjacent and exits come first.
-- A user whose membership moves to another row is then a member in the end.
INSERT INTO outbox (
  run_seq, seq, op, reason, base_v, _blind, _send, _stays, _at, _since, keys, columns, old__columns
)
SELECT
  :run,
  ROW_NUMBER() OVER (
    ORDER BY EACH_COLUMN(identity, t._), CASE WHEN t.op = 'exited' THEN 0 ELSE 1 END,
      EACH_COLUMN(keys, t._)
  ),
  t.op, t.reason, t.base_v, t._blind, t._send, COALESCE(t._stays, FALSE), t._at, t._since,
  EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___)
FROM transitions AS t

-- name: enqueue_distinct
-- Saves transitions of distinct users, in any order, after the existing ones.
-- Sorting them would take most of the time and memory of a first delivery.
INSERT INTO outbox (
  run_seq, seq, op, reason, base_v, _blind, _send, _stays, _at, _since, keys, columns, old__columns
)
SELECT
  :run, :after + ROW_NUMBER() OVER (),
  t.op, t.reason, t.base_v, t._blind, t._send, COALESCE(t._stays, FALSE), t._at, t._since,
  EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___)
FROM transitions AS t

-- name: count_run
-- The number of transitions of a run in the outbox.
SELECT COUNT(*) FROM outbox AS o WHERE o.run_seq = :run

-- name: has_changed
-- Whether a run has changed members, whose old values are needed.
SELECT COUNT(*) > 0 FROM outbox AS o WHERE o.run_seq = :run AND o.op = 'changed'

-- name: page
-- The next transitions of a run in order; optionally only those with the listed numbers. Times that
-- drivers cannot represent (infinity, years outside 1 to 9999) are NULL; their labels are listed last.
SELECT
  o.seq, o.op, o.reason, o.base_v, o._blind, o._send, o._stays, o._at,
  EACH_COLUMN(keys, o._),
  EACH_COLUMN(columns, o._),
  EACH_COLUMN(dates, CASE WHEN o._ BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN o._ END),
  EACH_COLUMN(timestamps, CASE
    WHEN CAST(o._ AS TIMESTAMP)
      BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999'
    THEN o._
  END),
  EACH_COLUMN(old_columns, o.old___),
  EACH_COLUMN(old_dates, CASE
    WHEN o.old___ BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN o.old___
  END),
  EACH_COLUMN(old_timestamps, CASE
    WHEN CAST(o.old___ AS TIMESTAMP)
      BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999'
    THEN o.old___
  END),
  CONCAT(
    '',
    EACH_COLUMN(dates, CASE
      WHEN NOT o._ BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN '_LABEL' ELSE ''
    END),
    EACH_COLUMN(timestamps, CASE
      WHEN NOT CAST(o._ AS TIMESTAMP)
        BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999'
      THEN '_LABEL' ELSE ''
    END),
    EACH_COLUMN(old_dates, CASE
      WHEN NOT o.old___ BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN '_LABEL' ELSE ''
    END),
    EACH_COLUMN(old_timestamps, CASE
      WHEN NOT CAST(o.old___ AS TIMESTAMP)
        BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999'
      THEN '_LABEL' ELSE ''
    END)
  ) AS _out_of_range
FROM outbox AS o
WHERE o.run_seq = :run AND o.seq >= :first_seq AND o.seq <= :last_seq
  AND (:every OR STRPOS(:seqs, CONCAT(',', o.seq, ',')) > 0)
ORDER BY o.seq
