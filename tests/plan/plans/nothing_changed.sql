-- A run on the same rows in another order plans nothing.

-- include city_audience

-- include three_contacts

-- now
DELETE FROM salesforce.contact;
INSERT INTO salesforce.contact VALUES ('c3', NULL), ('c1', 'Oslo'), ('c2', 'Bergen');

-- outbox
-- size 3 -> 3
