-- What the ledger holds of an audience, in the columns that its tables have.
SELECT EACH_COLUMN(keys, o._), EACH_COLUMN(columns, o._) FROM source AS o
