-- What was held is planned anew from where the ledger stands, together with what moved since.

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

-- then (upstream: Contact)
DELETE FROM salesforce.contact WHERE id = 'c1';

-- now (allow: upstream)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c2';

-- outbox
-- op      | reason   | base | key | new       | old
-- exited  | upstream | 1    | c1  | city=Oslo |
-- changed | data     | 1    | c2  | city=Moss | city=Bergen
-- size 3 -> 2
