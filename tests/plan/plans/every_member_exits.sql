-- When the model returns no row, all members exit.

-- include city_audience

-- include three_contacts

-- now
DELETE FROM salesforce.contact;

-- outbox
-- op     | reason | base | key | new         | old
-- exited | data   | 1    | c1  | city=Oslo   |
-- exited | data   | 1    | c2  | city=Bergen |
-- exited | data   | 1    | c3  | city=NULL   |
-- size 3 -> 0
