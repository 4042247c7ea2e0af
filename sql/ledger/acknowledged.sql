-- The settled ranges of an audience run, in order.
SELECT first_seq, last_seq, calls
FROM acks
WHERE run_seq = :run AND audience = :audience
ORDER BY first_seq
