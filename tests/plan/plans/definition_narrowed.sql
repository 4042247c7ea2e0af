-- A member that an edit of the SQL excludes exits with the reason definition; a member whose row
-- disappeared exits with the reason data.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact WHERE city IS NOT NULL

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c2', 'Moss'), ('c3', 'Bodø'), ('c4', NULL);

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact WHERE city <> 'Moss'

-- now
DELETE FROM salesforce.contact WHERE id = 'c3';

-- outbox
-- op     | reason     | base | key | new       | old
-- exited | definition | 1    | c2  | city=Moss |
-- exited | data       | 1    | c3  | city=Bodø |
-- size 3 -> 1
