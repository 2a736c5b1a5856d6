-- name: columns
-- Columns of a table, in order, but for the merchant; and those of its key.
SELECT array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attname <> 'merchant_id'),
       array_agg(a.attname::text ORDER BY array_position(i.indkey::integer[], a.attnum::integer))
           FILTER (WHERE a.attnum = ANY (i.indkey))
  FROM pg_attribute a
  JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
 WHERE a.attrelid = %(table)s::text::regclass AND a.attnum > 0 AND NOT a.attisdropped

-- name: pass_identities
-- See functions/06_archive.sql.
SELECT pass_identities(%(merchant)s, %(tables)s::text[])

-- name: merchant
-- A merchant's own facts.
SELECT name, country, currency, time_zone, language FROM merchant WHERE merchant_id = %(merchant)s

-- name: next_account
-- One that nobody has, nor gets: a process knows its accounts by their numbers alone.
SELECT nextval(pg_get_serial_sequence('account', 'account_id'))::integer

-- name: claim_name
-- Whether nobody else is bringing a merchant of this name; held until the connection ends.
SELECT pg_try_advisory_lock(hashtextextended('meschain merchant ' || %(name)s, 0))

-- name: rename_merchant
-- A merchant that is whole, or no longer is.
UPDATE merchant SET name = %(name)s WHERE merchant_id = %(merchant)s

-- name: add_ownerships
-- The rows that leases of the accounts live in.
INSERT INTO ownership (merchant_id, account_id)
SELECT merchant_id, account_id FROM account WHERE merchant_id = %(merchant)s
ON CONFLICT DO NOTHING

-- name: wrong_levels
-- How many levels are not the sum of their movements.
SELECT count(*)
  FROM stock_level s
  FULL JOIN (SELECT variant_id, location_id, sum(on_hand_delta) AS on_hand,
                    sum(reserved_delta) AS reserved
               FROM stock_movement WHERE merchant_id = %(merchant)s
              GROUP BY variant_id, location_id) m
    ON m.variant_id = s.variant_id AND m.location_id = s.location_id
 WHERE coalesce(s.merchant_id, %(merchant)s) = %(merchant)s
   AND (coalesce(s.on_hand, 0) <> coalesce(m.on_hand, 0)
        OR coalesce(s.reserved, 0) <> coalesce(m.reserved, 0))

-- name: sealed_credentials
-- Credentials of accounts, sealed.
SELECT account_id, key_number, sealed FROM account_credential
 WHERE merchant_id = %(merchant)s ORDER BY account_id

-- name: sealed_orders
-- Buyers and raw replies of orders, sealed.
SELECT order_id, key_number, person_sealed, raw_sealed FROM orders
 WHERE merchant_id = %(merchant)s AND order_id > %(after)s AND key_number IS NOT NULL
 ORDER BY order_id
 LIMIT %(limit)s

-- name: sealed_feeds
-- Addresses of suppliers' feeds that hold more than the archive's tables say of them.
SELECT feed_id, source, key_number, source_sealed FROM supplier_feed
 WHERE merchant_id = %(merchant)s
   AND (source_sealed IS NOT NULL OR source <> feed_address(source)) ORDER BY feed_id

-- name: put_sealed_orders
-- The same, sealed anew. Arrays run in parallel.
UPDATE orders o SET person_sealed = x.person, raw_sealed = x.raw, key_number = %(key_number)s
  FROM unnest(%(orders)s::bigint[], %(persons)s::bytea[], %(raws)s::bytea[])
           AS x (order_id, person, raw)
 WHERE o.merchant_id = %(merchant)s AND o.order_id = x.order_id
