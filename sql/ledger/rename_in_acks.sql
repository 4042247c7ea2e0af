-- The audience's past goes over to its new name.
UPDATE acks SET audience = :new_name WHERE audience = :old_name
