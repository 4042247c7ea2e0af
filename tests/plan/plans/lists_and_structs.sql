-- A list changes with its values and their order, a struct with any of its fields. NULL, an empty
-- list and a struct of NULLs are different values.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {tags: tags, place: place}}
--- */
SELECT id, tags, place FROM salesforce.contact

-- before (warehouse: duckdb)
CREATE TABLE salesforce.contact (id TEXT, tags TEXT[], place STRUCT(city TEXT, zip INTEGER));
INSERT INTO salesforce.contact VALUES ('c1', ['a', 'b'], {'city': 'Oslo', 'zip': 1}), ('c2', ['a', NULL], {'city': NULL, 'zip': NULL}), ('c3', NULL, NULL), ('c4', [], NULL), ('c5', ['a', 'b'], {'city': 'Oslo', 'zip': 1});

-- now
UPDATE salesforce.contact SET tags = ['b', 'a'] WHERE id = 'c1';
UPDATE salesforce.contact SET tags = ['a'] WHERE id = 'c2';
UPDATE salesforce.contact SET tags = [] WHERE id = 'c3';
UPDATE salesforce.contact SET place = {'city': 'Oslo', 'zip': NULL} WHERE id = 'c5';

-- outbox
-- op      | reason | base | key | new                                                 | old
-- changed | data   | 1    | c1  | place={"city": "Oslo", "zip": 1} tags=["b", "a"]    | place={"city": "Oslo", "zip": 1} tags=["a", "b"]
-- changed | data   | 1    | c2  | place={"city": null, "zip": null} tags=["a"]        | place={"city": null, "zip": null} tags=["a", null]
-- changed | data   | 1    | c3  | place=NULL tags=[]                                  | place=NULL tags=NULL
-- changed | data   | 1    | c5  | place={"city": "Oslo", "zip": null} tags=["a", "b"] | place={"city": "Oslo", "zip": 1} tags=["a", "b"]
-- size 5 -> 5
