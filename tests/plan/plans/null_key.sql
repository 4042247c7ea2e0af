-- A NULL key is kept out, and holds the audience.

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
INSERT INTO salesforce.contact VALUES (NULL, 'Oslo'), ('c4', 'Moss');

-- outbox
-- size 3 -> 4
-- held by keys: 1 in, 0 changed, 0 out
-- quarantined 1
