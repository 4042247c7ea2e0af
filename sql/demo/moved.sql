-- Who moved in a run, and how.
SELECT o.op, EACH_COLUMN(keys, o._)
FROM outbox AS o
JOIN runs AS r ON r.run_seq = o.run_seq
WHERE r.run_id = :run_id
ORDER BY o.seq
