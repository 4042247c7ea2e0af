-- Who holds the lock, and until when.
SELECT owner, host, process, run_id, expires_at FROM lock WHERE name = 'ledger'
