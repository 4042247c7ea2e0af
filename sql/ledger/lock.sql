-- name: insert_lock
-- Inserts the one row of the lock, without an owner.
INSERT INTO lock (name, owner, host, process, run_id, expires_at)
VALUES ('ledger', '', '', 0, '', :now)

-- name: read_lock
-- The owner of the lock and the end of its lease.
SELECT owner, host, process, run_id, expires_at FROM lock WHERE name = 'ledger'

-- name: take_lock
-- Takes the lock if its owner and lease are still those that were read before.
UPDATE lock
SET owner = :owner, host = :host, process = :process, run_id = :run_id, expires_at = :expires_at
WHERE name = 'ledger' AND owner = :expected AND expires_at = :expected_until

-- name: renew_lock
-- Extends the owner's lease.
UPDATE lock SET expires_at = :expires_at WHERE name = 'ledger' AND owner = :owner

-- name: release_lock
-- Releases the lock if this owner still holds it.
UPDATE lock
SET owner = '', host = '', process = 0, run_id = '', expires_at = :now
WHERE name = 'ledger' AND owner = :owner
