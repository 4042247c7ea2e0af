-- Where the data went back to what was acknowledged, there is nothing to say.

-- include city_audience

-- include three_contacts

-- then (rejected: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- now
UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1';

-- outbox
-- size 3 -> 3
