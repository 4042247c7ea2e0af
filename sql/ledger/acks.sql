-- name: acknowledge
-- A range of transitions is settled: one row a batch, never a row an event.
INSERT INTO acks (run_seq, audience, first_seq, last_seq, calls, acked_at)
VALUES (:run, :audience, :first_seq, :last_seq, :calls, :now)

-- name: acknowledged
-- The settled ranges of an audience run, in order.
SELECT first_seq, last_seq, calls
FROM acks
WHERE run_seq = :run AND audience = :audience
ORDER BY first_seq

-- name: settled
-- The transitions of a run that were delivered: all of its outbox but what was refused.
SELECT o.*
FROM outbox AS o
WHERE o.run_seq = :run
  AND NOT EXISTS (
    SELECT 1 FROM rejections AS r
    WHERE r.run_seq = :run AND r.audience = :audience AND r.seq = o.seq
  )

-- name: forget_members
-- Takes out what the snapshot says of the keys that a settled run moved.
DELETE FROM snapshot AS s
WHERE EXISTS (
  SELECT 1 FROM settled AS a WHERE EVERY_COLUMN(keys, a._ = s._)
)

-- name: remember_members
-- Writes what the receiver now holds; who left stays as a tombstone with the last-known values.
INSERT INTO snapshot (keys, columns, _v, _since, _gone)
SELECT EACH_COLUMN(keys, a._), EACH_COLUMN(columns, a._), :run, a._since, a.op = 'exited'
FROM settled AS a

-- name: purge_acks
-- Forgets the ranges of runs that were settled long ago.
DELETE FROM acks AS k
WHERE EXISTS (
  SELECT 1 FROM audience_runs AS a
  WHERE a.run_seq = k.run_seq AND a.audience = k.audience
    AND a.phase <> 'delivering' AND a.finished_at < :before
)

-- name: purge_outbox
-- Forgets transitions of settled runs, but none that a rejection or a doubt still speaks of.
DELETE FROM outbox AS o
WHERE o.run_seq IN (
    SELECT a.run_seq FROM audience_runs AS a
    WHERE a.audience = :audience AND a.phase <> 'delivering' AND a.finished_at < :before
  )
  AND NOT EXISTS (
    SELECT 1 FROM rejections AS r
    WHERE r.audience = :audience AND r.resolved_at IS NULL
      AND r.run_seq = o.run_seq AND r.seq = o.seq
  )
  AND NOT EXISTS (
    SELECT 1 FROM doubtful AS d
    WHERE d.audience = :audience AND d.run_seq = o.run_seq AND d.seq = o.seq
  )

-- name: purge_tombstones
-- Forgets who left so long ago that no receiver remembers the ids of that time.
DELETE FROM snapshot AS s WHERE s._gone AND s._since < :before
