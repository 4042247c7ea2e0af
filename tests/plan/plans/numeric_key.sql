-- A whole number beyond what a double can hold is a key like any other.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id BIGINT, city TEXT);
INSERT INTO salesforce.contact VALUES (9007199254740993, 'Oslo'), (-1, 'Moss');

-- now
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 9007199254740993;
INSERT INTO salesforce.contact VALUES (9007199254740992, 'Oslo');

-- outbox
-- op      | reason | base | key              | new       | old
-- entered | data   | 0    | 9007199254740992 | city=Oslo |
-- changed | data   | 1    | 9007199254740993 | city=Moss | city=Oslo
-- size 2 -> 3
