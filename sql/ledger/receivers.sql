-- name: receivers
-- The fingerprint of each destination's receiver.
SELECT destination, fingerprint FROM receivers

-- name: delete_receiver
-- Deletes the receiver of a destination, before another one is saved.
DELETE FROM receivers WHERE destination = :destination

-- name: bind_receiver
-- Saves the receiver of a destination.
INSERT INTO receivers (destination, fingerprint, bound_at) VALUES (:destination, :fingerprint, :now)

-- name: stopped_destinations
-- The destinations that receive nothing until they are resumed, and why.
SELECT destination, reason, stopped_at FROM stopped_destinations

-- name: stop_destination
-- Saves that a destination receives nothing until it is resumed.
INSERT INTO stopped_destinations (destination, reason, stopped_at) VALUES (:destination, :reason, :now)

-- name: resume_destination
-- Forgets that a destination is stopped.
DELETE FROM stopped_destinations WHERE destination = :destination

-- name: was_delivered
-- One row if a destination has accepted or rejected any change.
SELECT 1 AS delivered
FROM audience_runs AS a
JOIN acks AS k ON k.run_seq = a.run_seq AND k.sync_key = a.sync_key
WHERE a.destination = :destination
UNION ALL
SELECT 1 AS delivered
FROM audience_runs AS a
WHERE a.destination = :destination AND a.sent > 0
LIMIT 1

-- name: ever_delivered
-- One row if any change was delivered, rejected or recorded, or a delivery is pending.
SELECT 1 AS delivered
FROM audience_runs AS a
WHERE a.sent > 0 OR a.rejected > 0 OR a.phase = 'delivering'
LIMIT 1
