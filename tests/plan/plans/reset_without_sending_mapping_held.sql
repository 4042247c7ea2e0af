-- A silent reset records everybody; what the header would hold of its own edit is not asked.

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

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {town: city}}
on_mapping_change: hold
--- */
SELECT id, city FROM salesforce.contact

-- now (intent: accept)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';

-- outbox
-- op      | reason | base | key | new       | old       | note
-- changed | data   | 1    | c3  | city=Moss | city=NULL | recorded
-- size 3 -> 3
