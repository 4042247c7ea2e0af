-- With bad keys allowed once, the changes of good keys are sent, and rows with bad keys are left
-- out.

-- include city_audience

-- include three_contacts

-- now (allow: keys)
INSERT INTO salesforce.contact VALUES (NULL, 'Oslo'), (NULL, NULL), ('c4', 'Moss');

-- outbox
-- op      | reason | base | key | new       | old
-- entered | data   | 0    | c4  | city=Moss |
-- size 3 -> 4
-- quarantined 2
