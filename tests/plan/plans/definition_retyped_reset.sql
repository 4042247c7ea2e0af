-- After an edit that gives a column another meaning, its old values are dropped, and changes of
-- other columns keep their own reason.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city, score: score}}
--- */
SELECT id, city, level AS score FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, level TEXT, score INTEGER);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 'high', 1), ('c2', 'Moss', 'low', 2);

-- include city_and_score_audience

-- now
UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c2';

-- outbox
-- op      | reason | base | key | new                | old
-- changed | data   | 1    | c2  | city=Hamar score=2 | city=Moss score=2
-- size 2 -> 2
-- retyped score
-- unconverted 2
