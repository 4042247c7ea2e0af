-- When a doubled key is mended, the member is where it was: nothing is planned.

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

-- then (allow: keys)
INSERT INTO salesforce.contact VALUES ('c1', 'Moss');

-- now
DELETE FROM salesforce.contact WHERE id = 'c1' AND city = 'Moss';

-- outbox
-- size 3 -> 3
