-- The API calls that the last extract used.
SELECT r.salesforce_calls
FROM runs AS r
WHERE EXISTS (SELECT 1 FROM extracts AS e WHERE e.run_seq = r.run_seq)
ORDER BY r.run_seq DESC
LIMIT 1
