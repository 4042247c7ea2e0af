-- The owner is alive: the lease goes on.
UPDATE lock SET expires_at = :expires_at WHERE name = 'ledger' AND owner = :owner
