-- A newer value after an unconfirmed delivery is sent in full, without old values, on a new
-- version.

-- include city_audience

-- include three_contacts

-- then (unconfirmed: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- now
UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c1';

-- outbox
-- op      | reason | base | key | new        | old
-- changed | data   | -2   | c1  | city=Hamar |
-- size 3 -> 3
