-- A reset that sends nothing records what there is.

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

-- now (intent: accept)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';
DELETE FROM salesforce.contact WHERE id = 'c2';
INSERT INTO salesforce.contact VALUES ('c4', 'Bodø');

-- outbox
-- op      | reason | base | key | new         | old       | note
-- changed | data   | 1    | c1  | city=Moss   | city=Oslo | recorded
-- exited  | data   | 1    | c2  | city=Bergen |           | recorded
-- entered | data   | 0    | c4  | city=Bodø   |           | recorded
-- size 3 -> 3

-- now

-- outbox
-- size 3 -> 3
