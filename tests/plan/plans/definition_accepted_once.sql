-- After an accepted edit, the ledger reflects the new SQL: later changes have the reason data.

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

-- then

-- now
UPDATE salesforce.contact SET city = 'Hamar' WHERE id IN ('c1', 'c2');

-- outbox
-- op      | reason | base | key | new        | old
-- entered | data   | 2    | c1  | city=Hamar |
-- changed | data   | 1    | c2  | city=Hamar | city=Bergen
-- size 1 -> 2
