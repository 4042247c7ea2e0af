-- With on_definition_change hold, data may move.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
on_definition_change: hold
--- */
SELECT id, city FROM salesforce.contact WHERE city IS NOT NULL

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c2', 'Bergen'), ('c3', NULL);

-- now
INSERT INTO salesforce.contact VALUES ('c4', 'Moss');

-- outbox
-- op      | reason | base | key | new       | old
-- entered | data   | 0    | c4  | city=Moss |
-- size 2 -> 3
