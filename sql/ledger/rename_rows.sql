-- An audience's past goes over to another name; what a later audience of the old name did stays.
UPDATE renamed SET audience = :new_name WHERE audience = :old_name AND run_seq < :before
