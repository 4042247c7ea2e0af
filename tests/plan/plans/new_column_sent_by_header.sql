-- With on_new_column send in the header, the members that have a value in the new column are sent.

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

-- now
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';

-- outbox
-- op      | reason  | base | key | new               | old
-- changed | mapping | 1    | c1  | city=Oslo score=1 | city=Oslo score=NULL
-- changed | data    | 1    | c3  | city=Moss score=3 | city=Bodø score=NULL
-- size 3 -> 3
-- added score
