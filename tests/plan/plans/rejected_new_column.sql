-- A new column is accepted beside a rejected change, which is planned with the new column's value.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1), ('c2', 'Moss', NULL);

-- then (rejected: c1)
UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c1';

-- include city_and_score_audience

-- now

-- outbox
-- op      | reason | base | key | new                | old
-- changed | data   | 1    | c1  | city=Hamar score=1 | city=Oslo score=1
-- size 2 -> 2
-- added score
