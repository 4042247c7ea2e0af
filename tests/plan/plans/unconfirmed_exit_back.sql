-- Who perhaps exited and is back enters, though the ledger never let them go.

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
DELETE FROM salesforce.contact WHERE id = 'c1';

-- now
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo');

-- outbox
-- op      | reason | base | key | new       | old
-- entered | data   | -2   | c1  | city=Oslo |
-- size 3 -> 3
