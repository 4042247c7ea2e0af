-- If a recorded value cannot be cast to the new type, the column counts as a new one.

-- include city_and_score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 'high'), ('c2', 'Moss', NULL), ('c3', 'Bodø', '3');

-- now
DROP TABLE salesforce.contact;
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score INTEGER);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 9), ('c2', 'Moss', NULL), ('c3', 'Hamar', 3);

-- outbox
-- op      | reason | base | key | new                | old
-- changed | data   | 1    | c3  | city=Hamar score=3 | city=Bodø score=3
-- size 3 -> 3
-- retyped score
-- unconverted 1
