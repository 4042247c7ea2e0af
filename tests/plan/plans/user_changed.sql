-- A member whose user id is not the key and changes is a change; the old user id is in the old
-- values.

-- audience
/* ---
key: id
user_id: email
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, email, city FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, email TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'a@example.com', 'Oslo'), ('c2', 'b@example.com', 'Oslo');

-- now
UPDATE salesforce.contact SET email = 'z@example.com' WHERE id = 'c1';

-- outbox
-- op      | reason | base | key | new                           | old
-- changed | data   | 1    | c1  | email=z@example.com city=Oslo | email=a@example.com city=Oslo
-- size 2 -> 2
