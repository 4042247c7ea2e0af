-- NULL equals NULL, and differs from every value and from an empty text.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', NULL), ('c2', NULL), ('c3', ''), ('c4', 'Oslo'), ('c5', NULL);

-- now
UPDATE salesforce.contact SET city = '' WHERE id = 'c2';
UPDATE salesforce.contact SET city = NULL WHERE id IN ('c3', 'c4');
UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c5';

-- outbox
-- op      | reason | base | key | new       | old
-- changed | data   | 1    | c2  | city=     | city=NULL
-- changed | data   | 1    | c3  | city=NULL | city=
-- changed | data   | 1    | c4  | city=NULL | city=Oslo
-- changed | data   | 1    | c5  | city=Oslo | city=NULL
-- size 5 -> 5
