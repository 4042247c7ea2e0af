-- How many transitions of a run stand in the outbox.
SELECT COUNT(*) FROM outbox AS o WHERE o.run_seq = :run
