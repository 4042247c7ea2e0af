-- An object that the audience does not read holds nothing.

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

-- now (upstream: Account)
DELETE FROM salesforce.contact WHERE id = 'c1';

-- outbox
-- op     | reason | base | key | new       | old
-- exited | data   | 1    | c1  | city=Oslo |
-- size 3 -> 2
