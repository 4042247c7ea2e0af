-- A table goes over to the audience's new name.
ALTER TABLE renamed RENAME TO named
