-- The columns of a table or view in their order, with full types.
SELECT a.attname, FORMAT_TYPE(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = :name
  AND (n.nspname = :dataset OR (:dataset = 'pg_temp' AND n.oid = PG_MY_TEMP_SCHEMA()))
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY a.attnum
