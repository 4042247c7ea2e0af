-- With on_definition_change accept, changes caused by an edit are recorded without being sent;
-- changes of the data are sent.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
on_definition_change: accept
--- */
SELECT id, city FROM salesforce.contact WHERE city IS NOT NULL

-- include three_contacts

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
on_definition_change: accept
--- */
SELECT id, city FROM salesforce.contact WHERE city <> 'Oslo'

-- now
INSERT INTO salesforce.contact VALUES ('c4', 'Moss');

-- outbox
-- op      | reason     | base | key | new       | old | note
-- exited  | definition | 1    | c1  | city=Oslo |     | recorded
-- entered | data       | 0    | c4  | city=Moss |     |
-- size 2 -> 2
