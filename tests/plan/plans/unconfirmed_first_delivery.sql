-- An unconfirmed entry of the first result set keeps the reason initial and its messageId.

-- include city_audience

-- before (unconfirmed: c1)
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c2', 'Bergen'), ('c3', NULL);

-- now

-- outbox
-- op      | reason  | base | key | new       | old | note
-- entered | initial | 0    | c1  | city=Oslo |     | as tried
-- size 2 -> 3
