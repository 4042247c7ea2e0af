-- With on_definition_change hold, changes of the data are still sent.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
on_definition_change: hold
--- */
SELECT id, city FROM salesforce.contact WHERE city IS NOT NULL

-- include three_contacts

-- now
INSERT INTO salesforce.contact VALUES ('c4', 'Moss');

-- outbox
-- op      | reason | base | key | new       | old
-- entered | data   | 0    | c4  | city=Moss |
-- size 2 -> 3
