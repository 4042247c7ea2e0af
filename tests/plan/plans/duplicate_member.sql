-- A member that the model gives twice is neither changed nor read as an exit; the others wait with
-- it.

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
INSERT INTO salesforce.contact VALUES ('c1', 'Moss');
DELETE FROM salesforce.contact WHERE id = 'c2';

-- outbox
-- size 3 -> 2
-- held by keys: 0 in, 0 changed, 1 out
-- quarantined 2
