-- The columns of a table or view in their order; without a dataset, of a temporary one.
SELECT column_name, data_type
FROM information_schema.columns
WHERE table_name = :name
  AND (table_schema = :dataset OR (:dataset IS NULL AND table_catalog = 'temp'))
  AND table_catalog IN (CURRENT_DATABASE(), 'temp')
ORDER BY ordinal_position
