-- An incomplete object may be allowed once; the reason stays upstream.

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

-- now (upstream: Contact, allow: upstream)
DELETE FROM salesforce.contact WHERE id = 'c1';
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c2';

-- outbox
-- op      | reason   | base | key | new       | old
-- exited  | upstream | 1    | c1  | city=Oslo |
-- changed | data     | 1    | c2  | city=Moss | city=Bergen
-- size 3 -> 2
