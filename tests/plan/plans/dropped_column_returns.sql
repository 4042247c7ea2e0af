-- A column that was dropped and comes back is a new one: nobody is changed by it.

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

-- then

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city, score: score}}
--- */
SELECT id, city, score FROM salesforce.contact

-- now
UPDATE salesforce.contact SET score = 5;

-- outbox
-- size 2 -> 2
-- added score
