-- A value that went back is said again all the same: the receiver may hold the one in between.

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

-- now
UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1';

-- outbox
-- op      | reason | base | key | new       | old
-- changed | data   | -2   | c1  | city=Oslo |
-- size 3 -> 3
