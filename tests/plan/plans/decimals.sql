-- A decimal changes with its value, not with its scale.

-- include score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, score DECIMAL(18, 2));
INSERT INTO salesforce.contact VALUES ('c1', 1.50), ('c2', 9999999999999999.99), ('c3', 0);

-- now
ALTER TABLE salesforce.contact ALTER COLUMN score SET DATA TYPE DECIMAL(20, 4);
UPDATE salesforce.contact SET score = 9999999999999999.98 WHERE id = 'c2';

-- outbox
-- op      | reason | base | key | new                         | old
-- changed | data   | 1    | c2  | score=9999999999999999.9800 | score=9999999999999999.9900
-- size 3 -> 3
-- retyped score
