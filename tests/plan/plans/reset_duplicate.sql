-- A reset does not accept a duplicate key.

-- include city_audience

-- include three_contacts

-- now (intent: resend, allow: keys)
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), (NULL, 'x');

-- outbox
-- op      | reason  | base | key | new         | old
-- entered | initial | -2   | c2  | city=Bergen |
-- entered | initial | -2   | c3  | city=NULL   |
-- size 3 -> 3
-- quarantined 3
