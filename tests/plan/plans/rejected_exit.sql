-- An exit that was refused is planned again, with the values that were acknowledged.

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

-- then (rejected: c1)
DELETE FROM salesforce.contact WHERE id = 'c1';

-- now

-- outbox
-- op     | reason | base | key | new       | old
-- exited | data   | 1    | c1  | city=Oslo |
-- size 3 -> 2
