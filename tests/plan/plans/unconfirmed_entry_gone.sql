-- Who perhaps entered and is gone exits, with what was last tried.

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

-- then (doubtful: c4)
INSERT INTO salesforce.contact VALUES ('c4', 'Moss');

-- now
DELETE FROM salesforce.contact WHERE id = 'c4';

-- outbox
-- op     | reason | base | key | new       | old
-- exited | data   | -2   | c4  | city=Moss |
-- size 3 -> 3
