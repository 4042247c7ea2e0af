-- Text is compared by its characters: letters that look alike differ, and no value is read as SQL.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Tromsø'), ('c2', 'Zürich'), ('c3', '東京 🗼'), ('c4', 'It''s 100% \ :now; -- "x"'), ('Ⓐ key', 'ẞ');

-- now
UPDATE salesforce.contact SET city = 'Zürich' WHERE id = 'c2';
UPDATE salesforce.contact SET city = '東京 🗼 ' WHERE id = 'c3';
UPDATE salesforce.contact SET city = 'It''s 50% \ :now; -- "x"' WHERE id = 'c4';
UPDATE salesforce.contact SET city = 'ss' WHERE id = 'Ⓐ key';

-- outbox
-- op      | reason | base | key   | new                          | old
-- changed | data   | 1    | c2    | city=Zürich                 | city=Zürich
-- changed | data   | 1    | c3    | city=東京 🗼                    | city=東京 🗼
-- changed | data   | 1    | c4    | city=It's 50% \ :now; -- "x" | city=It's 100% \ :now; -- "x"
-- changed | data   | 1    | Ⓐ key | city=ss                      | city=ẞ
-- size 5 -> 5
