-- Where the data went back to what was acknowledged, there is nothing to say.

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

-- then (rejected: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- now
UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1';

-- outbox
-- size 3 -> 3
