-- With on_definition_change hold, changes caused by an edit hold the audience.

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

-- now
INSERT INTO salesforce.contact VALUES ('c4', 'Moss');

-- outbox
-- size 2 -> 2
-- held by definition: 1 in, 0 changed, 1 out
