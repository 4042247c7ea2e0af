-- A rejection that was followed by an accepted delivery is resolved.

-- include city_audience

-- include three_contacts

-- then (rejected: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- then

-- now

-- outbox
-- size 3 -> 3
