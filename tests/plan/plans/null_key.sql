-- A row with a NULL key is left out, and holds the audience.

-- include city_audience

-- include three_contacts

-- now
INSERT INTO salesforce.contact VALUES (NULL, 'Oslo'), ('c4', 'Moss');

-- outbox
-- size 3 -> 4
-- held by keys: 1 in, 0 changed, 0 out
-- quarantined 1
