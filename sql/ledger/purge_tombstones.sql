-- Forgets who left so long ago that no receiver remembers the ids of that time.
DELETE FROM snapshot AS s WHERE s._gone AND s._since < :before
