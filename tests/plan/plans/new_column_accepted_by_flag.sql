-- A flag overrides the header: the new column is recorded without being sent.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1), ('c2', 'Moss', NULL), ('c3', 'Bodø', 3);

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city, score: score}}
on_new_column: send
--- */
SELECT id, city, score FROM salesforce.contact

-- now (on_new_column: accept)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';

-- outbox
-- op      | reason | base | key | new               | old
-- changed | data   | 1    | c3  | city=Moss score=3 | city=Bodø score=3
-- size 3 -> 3
-- added score
