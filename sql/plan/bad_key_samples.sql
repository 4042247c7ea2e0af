-- A few bad keys, to be shown masked.
SELECT EACH_COLUMN(keys, b._), b._times FROM bad_keys AS b ORDER BY b._times DESC LIMIT :rows_max
