-- A wider type changes no member. A member with another change has old values in the new type.

-- include score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, score INTEGER);
INSERT INTO salesforce.contact VALUES ('c1', 1), ('c2', NULL), ('c3', 3);

-- now
ALTER TABLE salesforce.contact ALTER COLUMN score SET DATA TYPE BIGINT;
UPDATE salesforce.contact SET score = 3000000000 WHERE id = 'c3';

-- outbox
-- op      | reason | base | key | new              | old
-- changed | data   | 1    | c3  | score=3000000000 | score=3
-- size 3 -> 3
-- retyped score
