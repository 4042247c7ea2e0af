-- A column that the table did not have before.
ALTER TABLE altered ADD COLUMN _ _TYPE
