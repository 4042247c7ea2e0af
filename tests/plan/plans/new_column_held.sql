-- With on_new_column hold, members with a value in a new column hold the audience.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1), ('c2', 'Moss', NULL), ('c3', 'Bodø', 3);

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city, score: score}}
on_new_column: hold
--- */
SELECT id, city, score FROM salesforce.contact

-- now
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';

-- outbox
-- size 3 -> 3
-- held by new_column: 0 in, 2 changed, 0 out
-- added score
