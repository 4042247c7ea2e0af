-- Old and new SQL run on the same data: changes that the old SQL also gives have the reason data,
-- and the counts add up exactly.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact WHERE city IN ('Oslo', 'Moss')

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('stays', 'Oslo'), ('left', 'Oslo'), ('dropped', 'Moss'), ('gained', 'Bodø'), ('both', 'Moss');

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, UPPER(city) AS city FROM salesforce.contact WHERE city IN ('Oslo', 'Bodø')

-- now
UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'left';
DELETE FROM salesforce.contact WHERE id = 'both';
INSERT INTO salesforce.contact VALUES ('new', 'Oslo'), ('new_wide', 'Bodø');

-- outbox
-- op      | reason     | base | key      | new       | old
-- exited  | data       | 1    | both     | city=Moss |
-- exited  | definition | 1    | dropped  | city=Moss |
-- entered | definition | 0    | gained   | city=BODØ |
-- exited  | data       | 1    | left     | city=Oslo |
-- entered | data       | 0    | new      | city=OSLO |
-- entered | definition | 0    | new_wide | city=BODØ |
-- changed | definition | 1    | stays    | city=OSLO | city=Oslo
-- size 4 -> 4
