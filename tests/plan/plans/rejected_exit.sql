-- A rejected exit is planned again, with the values that were acknowledged.

-- include city_audience

-- include three_contacts

-- then (rejected: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- then (rejected: c1)
DELETE FROM salesforce.contact WHERE id = 'c1';

-- now

-- outbox
-- op     | reason | base | key | new       | old
-- exited | data   | 1    | c1  | city=Oslo |
-- size 3 -> 2
