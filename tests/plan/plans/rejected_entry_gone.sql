-- A member that was rejected when it entered, and whose row is missing now, never was a member.

-- include city_audience

-- before (rejected: c1)
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c2', 'Bergen'), ('c3', NULL);

-- now
DELETE FROM salesforce.contact WHERE id IN ('c1', 'c2');

-- outbox
-- op     | reason | base | key | new         | old
-- exited | data   | 1    | c2  | city=Bergen |
-- size 2 -> 1
