-- A column that the mapping names for the first time changes no member; its values are recorded,
-- and changes count from the next run on.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1), ('c2', 'Moss', NULL), ('c3', 'Bodø', 3);

-- include city_and_score_audience

-- then
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';

-- now
UPDATE salesforce.contact SET score = 2 WHERE id IN ('c1', 'c2');

-- outbox
-- op      | reason | base | key | new               | old
-- changed | data   | 1    | c1  | city=Oslo score=2 | city=Oslo score=1
-- changed | data   | 1    | c2  | city=Moss score=2 | city=Moss score=NULL
-- size 3 -> 3
