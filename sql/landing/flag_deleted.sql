-- In Salesforce's log of deletions, and no longer in its recycle bin.
UPDATE landed SET is_deleted = TRUE, _hard_deleted = TRUE
WHERE NOT is_deleted AND id IN (SELECT d.id FROM deletions AS d WHERE d.object = :object)
