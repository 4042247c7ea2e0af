-- Exits after an incomplete extract of an object have the reason upstream, and hold the audience.

-- include city_audience

-- include three_contacts

-- now (upstream: Contact)
DELETE FROM salesforce.contact WHERE id = 'c1';
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c2';

-- outbox
-- size 3 -> 2
-- held by upstream: 0 in, 1 changed, 1 out
