-- A new key that occurs twice does not enter.

-- include city_audience

-- include three_contacts

-- now (allow: keys)
INSERT INTO salesforce.contact VALUES ('c4', 'Moss'), ('c4', 'Moss'), ('c5', 'Moss');

-- outbox
-- op      | reason | base | key | new       | old
-- entered | data   | 0    | c5  | city=Moss |
-- size 3 -> 4
-- quarantined 2
