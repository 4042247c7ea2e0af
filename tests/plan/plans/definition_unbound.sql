-- Where the old SQL reads a column that no longer exists, its result is unknown, and all changes
-- have the reason definition.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, town AS city FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, town TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c2', 'Moss'), ('c3', 'Bodø');

-- include city_audience

-- now
ALTER TABLE salesforce.contact RENAME COLUMN town TO city;
UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c1';
DELETE FROM salesforce.contact WHERE id = 'c2';
INSERT INTO salesforce.contact VALUES ('c4', 'Oslo');

-- outbox
-- op      | reason     | base | key | new        | old
-- changed | definition | 1    | c1  | city=Hamar | city=Oslo
-- exited  | definition | 1    | c2  | city=Moss  |
-- entered | definition | 0    | c4  | city=Oslo  |
-- size 3 -> 3
