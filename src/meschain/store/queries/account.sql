-- name: data_keys
-- The merchant's data keys, sealed by the master key.
SELECT key_number, wrapped FROM data_key WHERE merchant_id = %(merchant)s ORDER BY key_number

-- name: add_data_key
-- The first one wins; two processes may meet here.
INSERT INTO data_key (merchant_id, key_number, wrapped, created_at)
VALUES (%(merchant)s, %(key_number)s, %(wrapped)s, %(now)s)
ON CONFLICT DO NOTHING

-- name: merchants
-- All merchants (owner connection only: no merchant is set).
SELECT merchant_id, name FROM merchant ORDER BY merchant_id

-- name: open_accounts
-- Every account that a hub may serve, for the engine.
SELECT a.merchant_id, a.account_id, a.marketplace, a.name, a.state, a.is_live, a.tier, a.base_urls,
       a.settings, c.sealed, c.key_number
  FROM account a
  JOIN account_credential c USING (merchant_id, account_id)
 WHERE a.state <> 'closed'
 ORDER BY a.merchant_id, a.account_id

-- name: states
-- Current states of accounts, read once a second so that arm, disarm and pause act at once.
SELECT merchant_id, account_id, state FROM account
 WHERE state <> 'closed' ORDER BY merchant_id, account_id

-- name: set_state
-- Change an account's state (engine: 'reconnect' after lost credentials).
UPDATE account SET state = %(state)s
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s
   AND state = ANY (%(only_from)s::text[])
RETURNING account_id

-- name: add
-- A new account; read-only until it is armed.
INSERT INTO account (merchant_id, marketplace, name, state, is_live, tier, base_urls, settings,
                     quantity_max, lowers_own_shelf, personal_days, created_at)
VALUES (%(merchant)s, %(marketplace)s, %(name)s, 'read_only', %(is_live)s, %(tier)s,
        %(base_urls)s::jsonb, %(settings)s::jsonb, %(quantity_max)s, %(lowers_own_shelf)s,
        %(personal_days)s, %(now)s)
RETURNING account_id

-- name: put_credential
-- Store the sealed credentials.
INSERT INTO account_credential (merchant_id, account_id, sealed, key_number, updated_at)
VALUES (%(merchant)s, %(account)s, %(sealed)s, %(key_number)s, %(now)s)
ON CONFLICT (merchant_id, account_id) DO UPDATE
   SET sealed = excluded.sealed, key_number = excluded.key_number, updated_at = excluded.updated_at

-- name: add_ownership
-- The row that leases of this account live in.
INSERT INTO ownership (merchant_id, account_id) VALUES (%(merchant)s, %(account)s)
ON CONFLICT DO NOTHING

-- name: add_lanes
-- The four schedules, with the defaults of design.md §2.
INSERT INTO lane (merchant_id, account_id, name, interval_s, batch_size, importance)
VALUES (%(merchant)s, %(account)s, 'products', 900, 100, 'high'),
       (%(merchant)s, %(account)s, 'stock', 300, 200, 'critical'),
       (%(merchant)s, %(account)s, 'orders', 120, 50, 'critical'),
       (%(merchant)s, %(account)s, 'prices', 1800, 150, 'medium')
ON CONFLICT DO NOTHING

-- name: add_cursor
-- Orders are read from here on.
INSERT INTO order_cursor (merchant_id, account_id, covered_us)
VALUES (%(merchant)s, %(account)s, %(covered_us)s)
ON CONFLICT DO NOTHING

-- name: list
-- The merchant's accounts.
SELECT account_id, marketplace, name, state, is_live, tier, settings, share_bps, buffer_units,
       quantity_max, created_at
  FROM account WHERE merchant_id = %(merchant)s AND state <> 'closed' ORDER BY account_id

-- name: by_name
-- One account by name.
SELECT account_id, marketplace, name, state, is_live, tier, settings, base_urls
  FROM account WHERE merchant_id = %(merchant)s AND name = %(name)s AND state <> 'closed'

-- name: lanes
-- Schedules and health of the lanes of an account.
SELECT name, interval_s, batch_size, importance, is_paused, next_run_us, last_run_us,
       last_success_us, last_error, last_error_us, runs, failures, net_found
  FROM lane WHERE merchant_id = %(merchant)s AND account_id = %(account)s ORDER BY name

-- name: one
-- One account with its sealed credentials, for the engine.
SELECT a.name, a.marketplace, a.state, a.tier, a.base_urls, a.settings, c.sealed, c.key_number
  FROM account a
  JOIN account_credential c USING (merchant_id, account_id)
 WHERE a.merchant_id = %(merchant)s AND a.account_id = %(account)s AND a.state <> 'closed'

-- name: a_data_key
-- Any data key, to try the master key on; the newest, for a rotation ends with it. By the owner.
SELECT merchant_id, key_number, wrapped FROM data_key
 ORDER BY merchant_id DESC, key_number DESC LIMIT 1

-- name: lock_data_keys
-- The merchant's data keys, held until they are sealed anew.
SELECT key_number, wrapped FROM data_key
 WHERE merchant_id = %(merchant)s ORDER BY key_number FOR UPDATE

-- name: put_data_key
-- The same data key, sealed with another master key.
UPDATE data_key SET wrapped = %(wrapped)s
 WHERE merchant_id = %(merchant)s AND key_number = %(key_number)s

-- name: forget_data_keys
-- Data keys that nothing opens any more; new records get a new one.
DELETE FROM data_key WHERE merchant_id = %(merchant)s

-- name: forget_sealed
-- Buyers' data that nothing opens any more. Lines, amounts and stock of the orders stay.
UPDATE orders SET person_sealed = NULL, raw_sealed = NULL, key_number = NULL
 WHERE merchant_id = %(merchant)s AND key_number IS NOT NULL

-- name: forget_webhooks
-- Webhooks whose secrets nothing opens any more; what they brought is pulled instead.
DELETE FROM webhook WHERE merchant_id = %(merchant)s

-- name: forget_deliveries
DELETE FROM webhook_inbox WHERE merchant_id = %(merchant)s

-- name: must_reconnect
-- Accounts whose credentials nothing opens any more.
UPDATE account SET state = 'reconnect'
 WHERE merchant_id = %(merchant)s AND state <> 'closed'
RETURNING account_id

-- name: served
-- The merchant's accounts that a hub or worker serves at this moment.
SELECT account_id FROM ownership
 WHERE merchant_id = %(merchant)s AND owner IS NOT NULL AND lease_until_us > %(now_us)s

-- name: numbers_of
-- The accounts of that name, of any merchant. By the owner.
SELECT account_id FROM account WHERE name = %(name)s ORDER BY account_id
