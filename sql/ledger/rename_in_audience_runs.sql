-- The audience's past goes over to its new name.
UPDATE audience_runs SET audience = :new_name, name = :name WHERE audience = :old_name
