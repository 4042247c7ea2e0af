-- A refusal that was followed by a delivery is forgotten.

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

-- then

-- now

-- outbox
-- size 3 -> 3
