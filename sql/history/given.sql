-- How many rows a model gives of a person today, by any of the columns that name one.
SELECT COUNT(*) FROM model AS m WHERE ANY_COLUMN(names, CAST(m._ AS TEXT) = :person)
