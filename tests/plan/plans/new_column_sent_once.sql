-- After a new column was sent, it is treated as any other column.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1), ('c2', 'Moss', NULL);

-- include city_and_score_audience

-- then (on_new_column: send)

-- now (on_new_column: send)
UPDATE salesforce.contact SET score = 2;

-- outbox
-- op      | reason | base | key | new               | old
-- changed | data   | 2    | c1  | city=Oslo score=2 | city=Oslo score=1
-- changed | data   | 1    | c2  | city=Moss score=2 | city=Moss score=NULL
-- size 2 -> 2
