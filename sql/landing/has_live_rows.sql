-- One row if any row of the object is not deleted.
SELECT 1 FROM landed WHERE NOT is_deleted LIMIT 1
