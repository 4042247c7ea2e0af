-- The audience's past goes over to its new name.
UPDATE doubtful SET audience = :new_name WHERE audience = :old_name
