SELECT 1 FROM landed WHERE NOT is_deleted LIMIT 1
