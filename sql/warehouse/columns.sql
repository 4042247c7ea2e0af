-- The columns of a table or view in their order.
SELECT column_name, data_type
FROM information_schema.columns
WHERE table_name = :name AND table_schema = :dataset
ORDER BY ordinal_position
