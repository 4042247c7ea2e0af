-- DuckDB's tables of more than so many rows on disk, where deleted ones are counted too.
SELECT schema_name, table_name, estimated_size
FROM DUCKDB_TABLES()
WHERE estimated_size > :rows_min
  AND NOT internal AND NOT temporary AND database_name = CURRENT_DATABASE()
