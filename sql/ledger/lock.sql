-- name: insert_lock
-- The one row that the lock is.
INSERT INTO lock (name, owner, host, process, run_id, expires_at)
VALUES ('ledger', '', '', 0, '', :now)

-- name: read_lock
-- Who holds the lock, and until when.
SELECT owner, host, process, run_id, expires_at FROM lock WHERE name = 'ledger'

-- name: take_lock
-- Takes the lock, or takes it over from the owner that was looked at, unless it moved meanwhile.
UPDATE lock
SET owner = :owner, host = :host, process = :process, run_id = :run_id, expires_at = :expires_at
WHERE name = 'ledger' AND owner = :expected AND expires_at = :expected_until

-- name: renew_lock
-- The owner is alive: the lease goes on.
UPDATE lock SET expires_at = :expires_at WHERE name = 'ledger' AND owner = :owner

-- name: release_lock
-- Gives the lock back, if it is still the owner's.
UPDATE lock
SET owner = '', host = '', process = 0, run_id = '', expires_at = :now
WHERE name = 'ledger' AND owner = :owner
