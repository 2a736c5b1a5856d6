-- name: lock_account
-- One account on its way into another state.
SELECT account_id, state FROM account
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s FOR UPDATE

-- name: counts
-- What arming would change, by what the channel was last known to show. ``unread``: listings of
-- which nothing is known.
SELECT count(*) AS listings,
       count(*) FILTER (WHERE k.quantity IS NULL OR k.sale_minor IS NULL) AS unread,
       count(*) FILTER (WHERE k.quantity > 0 AND q.quantity = 0) AS to_zero,
       count(*) FILTER (WHERE q.quantity < k.quantity) AS quantity_falls,
       count(*) FILTER (WHERE q.quantity > k.quantity) AS quantity_rises,
       count(*) FILTER (WHERE p.sale_minor < k.sale_minor) AS price_falls,
       count(*) FILTER (WHERE p.sale_minor > k.sale_minor) AS price_rises,
       count(*) FILTER (WHERE abs(p.sale_minor - k.sale_minor) * 100
                              > k.sale_minor * %(jump_percent)s) AS price_jumps
  FROM listing l
  JOIN offer_desired_quantity q ON q.merchant_id = l.merchant_id
   AND q.account_id = l.account_id AND q.listing_id = l.listing_id
  JOIN offer_acknowledged k ON k.merchant_id = l.merchant_id
   AND k.account_id = l.account_id AND k.listing_id = l.listing_id
  LEFT JOIN offer_desired_price p ON p.merchant_id = l.merchant_id
   AND p.account_id = l.account_id AND p.listing_id = l.listing_id
 WHERE l.merchant_id = %(merchant)s AND l.account_id = %(account)s
   AND l.state IN ('on_sale', 'off_sale')

-- name: unlinked_ours
-- Sellable variants without a listing on the account.
SELECT count(*) FROM variant v
 WHERE v.merchant_id = %(merchant)s AND v.sale_price_minor IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM listing l
                    WHERE l.merchant_id = v.merchant_id AND l.account_id = %(account)s
                      AND l.variant_id = v.variant_id AND l.state <> 'closed')

-- name: set_policy
-- How much of the available units the account is told.
UPDATE account SET share_bps = %(share_bps)s, buffer_units = %(buffer_units)s,
                   quantity_max = %(quantity_max)s
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s

-- name: variants_listed
-- Variants listed on the account, a chunk in key order.
SELECT DISTINCT variant_id FROM listing
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND state <> 'closed'
   AND variant_id > %(after)s
 ORDER BY variant_id
 LIMIT %(limit)s

-- name: close
-- The account ends; its name is free again, and its history stays.
UPDATE account SET state = 'closed', name = name || ' #' || account_id
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND state <> 'closed'

-- name: close_listings
-- Nothing of the account is kept in step any more.
UPDATE listing SET state = 'closed'
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND state <> 'closed'

-- name: forget_dirty
-- What was still to be sent to a closed account.
DELETE FROM offer_dirty WHERE merchant_id = %(merchant)s AND account_id = %(account)s

-- name: forget_credential
-- Credentials are not kept longer than they are needed.
DELETE FROM account_credential WHERE merchant_id = %(merchant)s AND account_id = %(account)s

-- name: details
-- One account as its owner sees it; ``owner`` of its lease, NULL when nobody serves it.
SELECT a.base_urls, a.location_ids, o.owner, o.lease_until_us,
       (SELECT count(*) FROM listing l WHERE l.merchant_id = a.merchant_id
           AND l.account_id = a.account_id AND l.state <> 'closed') AS listings,
       (SELECT count(*) FROM orders r WHERE r.merchant_id = a.merchant_id
           AND r.account_id = a.account_id) AS orders,
       o.epoch, o.pacer
  FROM account a
  JOIN ownership o ON o.merchant_id = a.merchant_id AND o.account_id = a.account_id
 WHERE a.merchant_id = %(merchant)s AND a.account_id = %(account)s
