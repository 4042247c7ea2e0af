-- Layout, case and comments are no edit: changes have the reason data.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact WHERE city IS NOT NULL

-- include three_contacts

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
select
    ID, -- the key
    City
from salesforce.contact
where CITY is not null

-- now
DELETE FROM salesforce.contact WHERE id = 'c1';

-- outbox
-- op     | reason | base | key | new       | old
-- exited | data   | 1    | c1  | city=Oslo |
-- size 2 -> 1
