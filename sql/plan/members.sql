-- How many members the snapshot has.
SELECT COUNT(*) FROM snapshot AS s WHERE NOT s._gone
