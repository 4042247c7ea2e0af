-- A value that reverted after an unconfirmed delivery is sent again: the receiver may have the
-- value in between.

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
