-- An unconfirmed key is sent even where other changes are only recorded: the state at the receiver
-- is unknown.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
on_definition_change: accept
--- */
SELECT id, city FROM salesforce.contact

-- include three_contacts

-- then (unconfirmed: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
on_definition_change: accept
--- */
SELECT id, UPPER(city) AS city FROM salesforce.contact

-- now

-- outbox
-- op      | reason     | base | key | new         | old         | note
-- changed | definition | -2   | c1  | city=MOSS   |             |
-- changed | definition | 1    | c2  | city=BERGEN | city=Bergen | recorded
-- size 3 -> 3
