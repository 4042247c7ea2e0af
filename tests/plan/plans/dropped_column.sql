-- A column that is no longer mapped changes no member.

-- include city_and_score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1), ('c2', 'Moss', NULL);

-- include city_audience

-- now
UPDATE salesforce.contact SET city = 'Oslo', score = 5 WHERE id = 'c2';

-- outbox
-- op      | reason | base | key | new       | old
-- changed | data   | 1    | c2  | city=Oslo | city=Moss
-- size 2 -> 2
-- dropped score
