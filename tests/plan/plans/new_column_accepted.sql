-- In the run that adds a column, only members with other changes are changed.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1), ('c2', 'Moss', NULL), ('c3', 'Bodø', 3);

-- include city_and_score_audience

-- now
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';

-- outbox
-- op      | reason | base | key | new               | old
-- changed | data   | 1    | c3  | city=Moss score=3 | city=Bodø score=3
-- size 3 -> 3
-- added score
