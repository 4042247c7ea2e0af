-- When everybody is gone, everybody exits.

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

-- now
DELETE FROM salesforce.contact;

-- outbox
-- op     | reason | base | key | new         | old
-- exited | data   | 1    | c1  | city=Oslo   |
-- exited | data   | 1    | c2  | city=Bergen |
-- exited | data   | 1    | c3  | city=NULL   |
-- size 3 -> 0
