-- As many members gone as keys doubled: the count alone would not tell, and does.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c2', 'Bergen'), ('c3', NULL);

-- now
DELETE FROM salesforce.contact WHERE id = 'c2';
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo');

-- outbox
-- size 3 -> 2
-- held by keys: 0 in, 0 changed, 1 out
-- quarantined 2
