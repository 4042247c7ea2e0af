-- With bad keys allowed once, the good ones move, and the bad ones stay out.

-- include city_audience

-- include three_contacts

-- now (allow: keys)
INSERT INTO salesforce.contact VALUES (NULL, 'Oslo'), (NULL, NULL), ('c4', 'Moss');

-- outbox
-- op      | reason | base | key | new       | old
-- entered | data   | 0    | c4  | city=Moss |
-- size 3 -> 4
-- quarantined 2
