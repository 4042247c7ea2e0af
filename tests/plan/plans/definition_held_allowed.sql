-- Changes caused by an edit can be allowed once.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
on_definition_change: hold
--- */
SELECT id, city FROM salesforce.contact WHERE city IS NOT NULL

-- include three_contacts

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
on_definition_change: hold
--- */
SELECT id, city FROM salesforce.contact WHERE city <> 'Oslo'

-- now (allow: definition)
INSERT INTO salesforce.contact VALUES ('c4', 'Moss');

-- outbox
-- op      | reason     | base | key | new       | old
-- exited  | definition | 1    | c1  | city=Oslo |
-- entered | data       | 0    | c4  | city=Moss |
-- size 2 -> 2
