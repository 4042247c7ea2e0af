-- The next transitions of a run, or those of them whose numbers are listed, in order.
SELECT
  o.seq, o.op, o.reason, o.base_v, o._blind, o._send, o._stays, o._at,
  EACH_COLUMN(keys, o._), EACH_COLUMN(columns, o._), EACH_COLUMN(before, o.old___)
FROM outbox AS o
WHERE o.run_seq = :run AND o.seq >= :first_seq AND o.seq <= :last_seq
  AND (:every OR STRPOS(:seqs, CONCAT(',', o.seq, ',')) > 0)
ORDER BY o.seq
