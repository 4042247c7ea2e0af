-- The audience's past goes over to its new name.
UPDATE rejections SET audience = :new_name WHERE audience = :old_name
