-- What is read comes in the order in which it is stored.
SET SESSION preserve_insertion_order = TRUE
