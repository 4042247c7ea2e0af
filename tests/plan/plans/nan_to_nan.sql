-- NaN equals NaN and minus zero equals zero. NaN, infinity and NULL are all null in JSON, so that a
-- change from one to another is none.

-- include score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'NaN'), ('c2', 0.0), ('c3', 'NaN'), ('c4', 'Infinity'), ('c5', NULL), ('c6', 0.1);

-- now
UPDATE salesforce.contact SET score = CAST('-0.0' AS DOUBLE) WHERE id = 'c2';
UPDATE salesforce.contact SET score = NULL WHERE id = 'c3';
UPDATE salesforce.contact SET score = 'NaN' WHERE id IN ('c4', 'c5');
UPDATE salesforce.contact SET score = 0.30000000000000004 WHERE id = 'c6';

-- outbox
-- op      | reason | base | key | new       | old
-- changed | data   | 1    | c6  | score=0.3 | score=0.1
-- size 6 -> 6
