-- The one row that the lock is.
INSERT INTO lock (name, owner, host, process, run_id, expires_at)
VALUES ('ledger', '', '', 0, '', :now)
