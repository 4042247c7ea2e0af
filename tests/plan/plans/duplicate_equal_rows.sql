-- Two equal rows are a duplicate key too, though neither differs from the member.

-- include city_audience

-- include three_contacts

-- now
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo');

-- outbox
-- size 3 -> 3
-- held by keys: 0 in, 0 changed, 0 out
-- quarantined 2
