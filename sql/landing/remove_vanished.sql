-- Salesforce no longer has the id.
DELETE FROM landed WHERE id NOT IN (SELECT i.id FROM ids AS i)
