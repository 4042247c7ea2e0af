-- A user whose row disappears and who has another row stays a user: the exit is planned before the
-- entry.

-- audience
/* ---
key: id
user_id: email
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, email, city FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, email TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'a@example.com', 'Oslo'), ('c2', 'b@example.com', 'Moss');

-- now
DELETE FROM salesforce.contact WHERE id = 'c1';
INSERT INTO salesforce.contact VALUES ('c9', 'a@example.com', 'Bodø');

-- outbox
-- op      | reason | base | key | new                           | old | note
-- exited  | data   | 1    | c1  | email=a@example.com city=Oslo |     | stays
-- entered | data   | 0    | c9  | email=a@example.com city=Bodø |     |
-- size 2 -> 2
