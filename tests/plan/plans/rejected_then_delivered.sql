-- A refusal that was followed by a delivery is forgotten.

-- include city_audience

-- include three_contacts

-- then (rejected: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- then

-- now

-- outbox
-- size 3 -> 3
