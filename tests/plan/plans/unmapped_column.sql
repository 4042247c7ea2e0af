-- A column that the mapping does not name is not compared.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city, score FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1);

-- now
UPDATE salesforce.contact SET score = 2;

-- outbox
-- size 1 -> 1
