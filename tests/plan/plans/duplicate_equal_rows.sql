-- Two equal rows are a duplicate key too, though neither differs from the member.

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
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo');

-- outbox
-- size 3 -> 3
-- held by keys: 0 in, 0 changed, 0 out
-- quarantined 2
