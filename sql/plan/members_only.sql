-- The model's rows without those that said no.
SELECT m.* FROM model AS m WHERE m._ IS NOT TRUE
