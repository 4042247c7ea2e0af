-- A number column that becomes text changes no member if the text is the same number.

-- include score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, score INTEGER);
INSERT INTO salesforce.contact VALUES ('c1', 1), ('c2', NULL), ('c3', 3);

-- now
ALTER TABLE salesforce.contact ALTER COLUMN score SET DATA TYPE TEXT;
UPDATE salesforce.contact SET score = 'three' WHERE id = 'c3';

-- outbox
-- op      | reason | base | key | new         | old
-- changed | data   | 1    | c3  | score=three | score=3
-- size 3 -> 3
-- retyped score
