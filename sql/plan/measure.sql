-- How many rows the model gives; engines without a cheap hash give no fingerprint of them.
SELECT COUNT(*), CAST(NULL AS TEXT), CAST(NULL AS TEXT) FROM model AS m
