-- How many transitions of each kind a run has in an outbox.
SELECT o.op, COUNT(*) FROM outbox AS o WHERE o.run_seq = :run GROUP BY o.op
