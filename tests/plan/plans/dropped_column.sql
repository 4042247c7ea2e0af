-- A column that the mapping does not name any more makes nobody changed.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city, score: score}}
--- */
SELECT id, city, score FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1), ('c2', 'Moss', NULL);

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact

-- now
UPDATE salesforce.contact SET city = 'Oslo', score = 5 WHERE id = 'c2';

-- outbox
-- op      | reason | base | key | new       | old
-- changed | data   | 1    | c2  | city=Oslo | city=Moss
-- size 2 -> 2
-- dropped score
