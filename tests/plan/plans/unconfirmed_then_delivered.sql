-- After an unconfirmed key was delivered, it is not planned any more.

-- include city_audience

-- include three_contacts

-- then (unconfirmed: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- then
UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1';

-- now

-- outbox
-- size 3 -> 3
