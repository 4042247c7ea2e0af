-- On request, a new column is sent to the members that have a value in it, with the reason mapping;
-- other changes have the reason data.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1), ('c2', 'Moss', NULL), ('c3', 'Bodø', 3), ('c4', 'Hamar', 4);

-- include city_and_score_audience

-- now (on_new_column: send)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';
DELETE FROM salesforce.contact WHERE id = 'c4';

-- outbox
-- op      | reason  | base | key | new                   | old
-- changed | mapping | 1    | c1  | city=Oslo score=1     | city=Oslo score=NULL
-- changed | data    | 1    | c3  | city=Moss score=3     | city=Bodø score=NULL
-- exited  | data    | 1    | c4  | city=Hamar score=NULL |
-- size 4 -> 3
-- added score
