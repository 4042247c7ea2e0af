-- Gives the lock back, if it is still the owner's.
UPDATE lock
SET owner = '', host = '', process = 0, run_id = '', expires_at = :now
WHERE name = 'ledger' AND owner = :owner
