-- Rows that Salesforce has had since before the window ended, and that never landed.
SELECT COUNT(*)
FROM ids AS i
WHERE EVERY_COLUMN(cursor, i._ < :before)
  AND i.id NOT IN (SELECT t.id FROM landed AS t)
