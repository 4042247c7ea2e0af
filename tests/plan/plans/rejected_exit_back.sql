-- Who comes back before their refused exit went through never left.

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
DELETE FROM salesforce.contact WHERE id = 'c1';

-- now
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo');

-- outbox
-- size 3 -> 3
