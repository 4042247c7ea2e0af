-- One row if there is any.
SELECT 1 FROM side LIMIT 1
