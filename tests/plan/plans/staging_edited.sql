-- An edit of a model that the audience reads counts as an edit of the audience.

-- model live_contacts
SELECT id, city FROM salesforce.contact WHERE city IS NOT NULL

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM live_contacts

-- include three_contacts

-- model live_contacts
SELECT id, city FROM salesforce.contact WHERE city <> 'Oslo'

-- now
INSERT INTO salesforce.contact VALUES ('c4', 'Moss');

-- outbox
-- op      | reason     | base | key | new       | old
-- exited  | definition | 1    | c1  | city=Oslo |
-- entered | data       | 0    | c4  | city=Moss |
-- size 2 -> 2
