-- In Salesforce's log of deletions.
DELETE FROM landed
WHERE id IN (SELECT d.id FROM deletions AS d WHERE d.object = :object)
