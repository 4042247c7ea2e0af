-- Salesforce no longer has the id, not even in its recycle bin.
UPDATE landed SET is_deleted = TRUE, _hard_deleted = TRUE
WHERE NOT _hard_deleted AND id NOT IN (SELECT i.id FROM ids AS i)
