-- A member of the first result set that was rejected keeps the reason initial; a later one does not
-- have it.

-- include city_audience

-- before (rejected: c1 c2)
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c2', 'Bergen'), ('c3', NULL);

-- now
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c2';
INSERT INTO salesforce.contact VALUES ('c4', 'Moss');

-- outbox
-- op      | reason  | base | key | new       | old
-- entered | initial | 0    | c1  | city=Oslo |
-- entered | initial | 0    | c2  | city=Moss |
-- entered | data    | 0    | c4  | city=Moss |
-- size 1 -> 4
