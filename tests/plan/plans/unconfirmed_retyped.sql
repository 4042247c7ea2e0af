-- An unconfirmed value that cannot be cast to today's type is sent again.

-- include score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, score TEXT);
INSERT INTO salesforce.contact VALUES ('c1', '1'), ('c2', '2');

-- then (unconfirmed: c1)
UPDATE salesforce.contact SET score = 'high' WHERE id = 'c1';

-- now
UPDATE salesforce.contact SET score = '1' WHERE id = 'c1';
ALTER TABLE salesforce.contact ALTER COLUMN score SET DATA TYPE INTEGER USING CAST(score AS INTEGER);

-- outbox
-- op      | reason | base | key | new     | old
-- changed | data   | -2   | c1  | score=1 |
-- size 2 -> 2
-- retyped score
