-- Where the data returned to what was acknowledged, nothing is planned.

-- include city_audience

-- include three_contacts

-- then (rejected: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- now
UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1';

-- outbox
-- size 3 -> 3
