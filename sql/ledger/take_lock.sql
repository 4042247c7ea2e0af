-- Takes the lock, or takes it over from the owner that was looked at, unless it moved meanwhile.
UPDATE lock
SET owner = :owner, host = :host, process = :process, run_id = :run_id, expires_at = :expires_at
WHERE name = 'ledger' AND owner = :expected AND expires_at = :expected_until
