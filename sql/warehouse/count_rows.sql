-- How many rows a table has.
SELECT COUNT(*) FROM counted AS c
