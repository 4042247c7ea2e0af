-- An unconfirmed change that still applies is planned as the same change, with the same messageId.

-- include city_audience

-- include three_contacts

-- then (unconfirmed: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- now

-- outbox
-- op      | reason | base | key | new       | old       | note
-- changed | data   | 1    | c1  | city=Moss | city=Oslo | as tried
-- size 3 -> 3
