-- A change whose delivery has no known outcome, and that still holds, is the same transition.

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

-- outbox
-- op      | reason | base | key | new       | old       | note
-- changed | data   | 1    | c1  | city=Moss | city=Oslo | as tried
-- size 3 -> 3
