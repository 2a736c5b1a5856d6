-- name: next_id
-- The id of the next merchant.
SELECT nextval(pg_get_serial_sequence('merchant', 'merchant_id'))::integer

-- name: add
-- A merchant under an id that was drawn before.
INSERT INTO merchant (merchant_id, name, country, currency, time_zone, language, created_at)
VALUES (%(merchant)s, %(name)s, %(country)s, %(currency)s, %(time_zone)s, %(language)s, %(now)s)

-- name: add_location
-- The default place of its goods.
INSERT INTO location (merchant_id, code, name, is_default)
VALUES (%(merchant)s, %(code)s, %(name)s, true)
