-- A rejected change leaves the ledger as it was: the next run plans it with its newest values, on
-- the same version, and plans nothing else again.

-- include city_audience

-- include three_contacts

-- then (rejected: c1)
UPDATE salesforce.contact SET city = 'Moss';

-- now
UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c1';

-- outbox
-- op      | reason | base | key | new        | old
-- changed | data   | 1    | c1  | city=Hamar | city=Oslo
-- size 3 -> 3
