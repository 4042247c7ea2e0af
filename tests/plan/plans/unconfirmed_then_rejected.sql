-- A rejection after an unconfirmed delivery leaves the key unconfirmed.

-- include city_audience

-- include three_contacts

-- then (unconfirmed: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- then (rejected: c1)
UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c1';

-- now
UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1';

-- outbox
-- op      | reason | base | key | new       | old
-- changed | data   | -2   | c1  | city=Oslo |
-- size 3 -> 3
