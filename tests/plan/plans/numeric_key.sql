-- A whole number that a double cannot hold exactly is a valid key.

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
