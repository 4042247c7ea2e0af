-- A value that went back is said again all the same: the receiver may hold the one in between.

-- include city_audience

-- include three_contacts

-- then (unconfirmed: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- now
UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1';

-- outbox
-- op      | reason | base | key | new       | old
-- changed | data   | -2   | c1  | city=Oslo |
-- size 3 -> 3
