-- Whether a run has transitions of which the values before are needed.
SELECT COUNT(*) > 0 FROM outbox AS o WHERE o.run_seq = :run AND o.op = 'changed'
