-- The second exit of a member stands on the version of the second entry.

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

-- then
INSERT INTO salesforce.contact VALUES ('c1', 'Moss');

-- now
DELETE FROM salesforce.contact WHERE id = 'c1';

-- outbox
-- op     | reason | base | key | new       | old
-- exited | data   | 3    | c1  | city=Moss |
-- size 3 -> 2
