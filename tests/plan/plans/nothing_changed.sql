-- A run on the same rows in another order plans nothing.

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
DELETE FROM salesforce.contact;
INSERT INTO salesforce.contact VALUES ('c3', NULL), ('c1', 'Oslo'), ('c2', 'Bergen');

-- outbox
-- size 3 -> 3
