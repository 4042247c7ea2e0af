-- New rows enter, missing ones exit with their last-known values, changed ones carry their old
-- values, and unchanged ones are not planned.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c2', 'Bergen'), ('c3', NULL);
INSERT INTO salesforce.contact VALUES ('c4', 'Bodø');

-- now
UPDATE salesforce.contact SET city = 'Tromsø' WHERE id = 'c1';
DELETE FROM salesforce.contact WHERE id = 'c2';
INSERT INTO salesforce.contact VALUES ('c5', 'Moss');

-- outbox
-- op      | reason | base | key | new         | old
-- changed | data   | 1    | c1  | city=Tromsø | city=Oslo
-- exited  | data   | 1    | c2  | city=Bergen |
-- entered | data   | 0    | c5  | city=Moss   |
-- size 4 -> 4
