-- With bad keys allowed once, a member that the model gives twice stays as it is while the others
-- move.

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

-- now (allow: keys)
INSERT INTO salesforce.contact VALUES ('c1', 'Moss');
DELETE FROM salesforce.contact WHERE id = 'c2';

-- outbox
-- op     | reason | base | key | new         | old
-- exited | data   | 1    | c2  | city=Bergen |
-- size 3 -> 2
-- quarantined 2
