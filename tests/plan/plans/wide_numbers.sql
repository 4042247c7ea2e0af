-- A 128-bit number is compared by its value: from 0 to -1 is a change.

-- include score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, score DECIMAL(38, 2));
INSERT INTO salesforce.contact VALUES ('c1', 0), ('c2', -0.01), ('c3', 123456789012345678901234567890.12), ('c4', 0);

-- now
UPDATE salesforce.contact SET score = -0.01 WHERE id = 'c1';
UPDATE salesforce.contact SET score = 0 WHERE id = 'c2';
UPDATE salesforce.contact SET score = -score WHERE id = 'c3';

-- outbox
-- op      | reason | base | key | new                                      | old
-- changed | data   | 1    | c1  | score=-0.01                              | score=0.00
-- changed | data   | 1    | c2  | score=0.00                               | score=-0.01
-- changed | data   | 1    | c3  | score=-123456789012345678901234567890.12 | score=123456789012345678901234567890.12
-- size 4 -> 4
