-- As many members are missing as keys are duplicated: the number of rows is equal, and the
-- duplicates are still found.

-- include city_audience

-- include three_contacts

-- now
DELETE FROM salesforce.contact WHERE id = 'c2';
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo');

-- outbox
-- size 3 -> 2
-- held by keys: 0 in, 0 changed, 1 out
-- quarantined 2
