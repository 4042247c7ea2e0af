-- The columns of a table or view in their order; the dataset `temp` is the session's own.
SELECT column_name, data_type
FROM DUCKDB_COLUMNS()
WHERE table_name = :name
  AND ((schema_name = :dataset AND database_name = CURRENT_DATABASE())
       OR (:dataset = 'temp' AND database_name = 'temp'))
ORDER BY column_index
