-- An audience run is settled; its numbers are final.
UPDATE audience_runs
SET phase = :phase, finished_at = :now, size_after = COALESCE(:size_after, size_after), sent = :sent, rejected = :rejected, calls = :calls
WHERE run_seq = :run AND audience = :audience
