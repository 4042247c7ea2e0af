-- A text column with numbers becomes a number column, which changes no member.

-- include score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, score TEXT);
INSERT INTO salesforce.contact VALUES ('c1', '1'), ('c2', NULL), ('c3', '03');

-- now
ALTER TABLE salesforce.contact ALTER COLUMN score SET DATA TYPE INTEGER USING CAST(score AS INTEGER);
UPDATE salesforce.contact SET score = 4 WHERE id = 'c3';

-- outbox
-- op      | reason | base | key | new     | old
-- changed | data   | 1    | c3  | score=4 | score=3
-- size 3 -> 3
-- retyped score
