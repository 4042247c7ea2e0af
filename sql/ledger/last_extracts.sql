-- The last word on each object: whether its latest extract was whole, and whether it is empty.
SELECT e.table_name, e.object, e.complete, e.empty, e.error, e.finished_at
FROM extracts AS e
WHERE NOT EXISTS (
  SELECT 1 FROM extracts AS later
  WHERE later.table_name = e.table_name
    AND (later.run_seq > e.run_seq
         OR (later.run_seq = e.run_seq AND later.finished_at > e.finished_at))
)
