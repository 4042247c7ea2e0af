-- A transition that was refused after an attempt whose outcome nobody knows.
INSERT INTO doubtful (audience, run_seq, seq, since)
SELECT DISTINCT audience, run_seq, seq, CAST(:now AS TIMESTAMPTZ)
FROM rejections
WHERE run_seq = :run AND audience = :audience AND doubtful
