-- A reverted value whose second delivery is unconfirmed too is planned as the same change again.

-- include city_audience

-- include three_contacts

-- then (unconfirmed: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- then (unconfirmed: c1)
UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1';

-- now

-- outbox
-- op      | reason | base | key | new       | old | note
-- changed | data   | -2   | c1  | city=Oslo |     | as tried
-- size 3 -> 3
