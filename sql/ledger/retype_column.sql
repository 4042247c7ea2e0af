-- A column that has another type in the model today.
ALTER TABLE altered ALTER COLUMN _ SET DATA TYPE _TYPE USING CAST(_ AS _TYPE)
