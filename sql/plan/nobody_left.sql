-- The audience as if its model gave no row.
SELECT EACH_COLUMN(keys, s._), EACH_COLUMN(columns, s._) FROM snapshot AS s WHERE FALSE
