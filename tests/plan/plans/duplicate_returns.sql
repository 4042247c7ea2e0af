-- Somebody who left and whose key now stands twice does not enter.

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

-- then
DELETE FROM salesforce.contact WHERE id = 'c1';

-- now (allow: keys)
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c1', 'Moss');

-- outbox
-- size 2 -> 2
-- quarantined 2
