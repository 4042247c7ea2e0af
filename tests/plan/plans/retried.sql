-- A retry plans rejected changes with their newest values, and leaves other changes to the next
-- run.

-- include city_audience

-- before (rejected: c1)
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c2', 'Bergen'), ('c3', NULL);

-- now (intent: retry)
UPDATE salesforce.contact SET city = 'Moss';
DELETE FROM salesforce.contact WHERE id = 'c2';

-- outbox
-- op      | reason  | base | key | new       | old
-- entered | initial | 0    | c1  | city=Moss |
-- size 2 -> 3

-- now

-- outbox
-- op      | reason | base | key | new         | old
-- exited  | data   | 1    | c2  | city=Bergen |
-- changed | data   | 1    | c3  | city=Moss   | city=NULL
-- size 3 -> 2
