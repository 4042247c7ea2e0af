-- Once a doubtful key was delivered, it is planned no more.

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

-- then (doubtful: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- then
UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1';

-- now

-- outbox
-- size 3 -> 3
