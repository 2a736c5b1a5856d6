-- Buyers' personal data: how long it is kept, whose it is, and its erasure. See functions/07_personal_data.sql.

-- name: terms
-- Days for which each account keeps it, closed ones too: their orders stay.
SELECT account_id, name, marketplace, personal_days FROM account
 WHERE merchant_id = %(merchant)s ORDER BY account_id

-- name: set_term
UPDATE account SET personal_days = %(days)s
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s

-- name: older
-- Orders of an account that nobody has touched since, a page in their order; and whether they ended.
SELECT o.placed_at, o.order_id, order_has_ended(o.merchant_id, o.order_id)
  FROM orders o
 WHERE o.merchant_id = %(merchant)s AND o.account_id = %(account)s AND o.erased_at IS NULL
   AND (o.placed_at, o.order_id) > (%(after_at)s::timestamptz, %(after)s)
   AND o.placed_at < %(before)s
   AND NOT EXISTS (SELECT 1 FROM package p
                    WHERE p.merchant_id = o.merchant_id AND p.order_id = o.order_id
                      AND p.modified_at >= %(before)s)
 ORDER BY o.placed_at, o.order_id
 LIMIT %(limit)s

-- name: asked
-- Orders whose buyers asked and that are not erased; and whether they ended.
SELECT o.order_id, o.account_id, o.external_id, order_has_ended(o.merchant_id, o.order_id)
  FROM erasure_request r
  JOIN orders o ON o.merchant_id = r.merchant_id AND o.account_id = r.account_id
               AND o.external_id = r.number
 WHERE r.merchant_id = %(merchant)s AND o.erased_at IS NULL
 ORDER BY o.order_id

-- name: erase
SELECT erase_orders(%(merchant)s, %(orders)s::bigint[], %(now)s)

-- name: erase_past
-- The customer's number is all that a past order has of its buyer.
UPDATE past_order p SET buyer_ref = '', erased_at = %(now)s
  FROM erasure_request r
 WHERE r.merchant_id = %(merchant)s AND r.account_id = 0
   AND p.merchant_id = r.merchant_id AND p.source = r.source AND p.number = r.number
   AND p.erased_at IS NULL
RETURNING p.past_order_id

-- name: ask
-- Somebody asked. Arrays run in parallel.
INSERT INTO erasure_request (merchant_id, account_id, source, number, asked_at)
SELECT %(merchant)s, x.account_id, x.source, x.number, %(now)s
  FROM unnest(%(accounts)s::integer[], %(sources)s::text[], %(numbers)s::text[])
           AS x (account_id, source, number)
 ORDER BY x.account_id, x.source, x.number
ON CONFLICT DO NOTHING

-- name: forget_deliveries
-- Deliveries of webhooks hold buyers' data. What they said is pulled (ADR 0005).
DELETE FROM webhook_inbox
 WHERE merchant_id = %(merchant)s AND received_us < %(before_us)s
   AND (%(accounts)s::integer[] IS NULL OR account_id = ANY (%(accounts)s::integer[]))

-- name: count_sealed
-- How many orders there are to look through.
SELECT count(*) FROM orders WHERE merchant_id = %(merchant)s AND person_sealed IS NOT NULL

-- name: sealed
-- Buyers, sealed, a page in the order of the orders.
SELECT order_id, key_number, person_sealed FROM orders
 WHERE merchant_id = %(merchant)s AND order_id > %(after)s AND person_sealed IS NOT NULL
 ORDER BY order_id
 LIMIT %(limit)s

-- name: orders
-- These orders, by their ids or by their numbers, with what an erasure needs to know.
SELECT o.order_id, o.account_id, a.name AS account, o.external_id AS number, o.placed_at,
       o.erased_at, order_has_ended(o.merchant_id, o.order_id) AS has_ended,
       r.asked_at IS NOT NULL AS is_asked, o.person_sealed, o.key_number
  FROM orders o
  JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
  LEFT JOIN erasure_request r ON r.merchant_id = o.merchant_id AND r.account_id = o.account_id
                             AND r.source = '' AND r.number = o.external_id
 WHERE o.merchant_id = %(merchant)s
   AND (o.order_id = ANY (%(orders)s::bigint[]) OR o.external_id = ANY (%(numbers)s::text[]))
   AND (%(account)s::integer IS NULL OR o.account_id = %(account)s)
 ORDER BY o.placed_at, o.order_id

-- name: past
-- Past orders by their numbers, or by the customer's.
SELECT source, number, placed_at, erased_at FROM past_order
 WHERE merchant_id = %(merchant)s
   AND (number = ANY (%(numbers)s::text[]) OR buyer_ref = %(buyer)s AND %(buyer)s <> '')
 ORDER BY placed_at, source, number

-- name: left
-- Rows of those of these orders that were erased which still hold something of a buyer; none, or there
-- is a defect.
WITH gone AS (
    SELECT o.* FROM orders o
     WHERE o.merchant_id = %(merchant)s AND o.order_id = ANY (%(orders)s::bigint[])
       AND o.erased_at IS NOT NULL
)
SELECT (SELECT count(*) FROM gone g
         WHERE g.person_sealed IS NOT NULL OR g.raw_sealed IS NOT NULL OR g.unknown_fields <> '{}')
     + (SELECT count(*) FROM gone g
          JOIN package p ON p.merchant_id = g.merchant_id AND p.order_id = g.order_id
         WHERE (p.cargo_code, p.tracking_number, p.tracking_url) <> ('', '', ''))
     + (SELECT count(*) FROM gone g
          JOIN package_line l ON l.merchant_id = g.merchant_id AND l.order_id = g.order_id
         WHERE l.extra <> '{}')

-- name: overdue
-- Orders by account that should have been erased before %(grace_days)s days (owner, all merchants).
SELECT m.name AS merchant, a.name, count(*) AS orders
  FROM account a
  JOIN merchant m ON m.merchant_id = a.merchant_id
  JOIN orders o ON o.merchant_id = a.merchant_id AND o.account_id = a.account_id
               AND o.erased_at IS NULL
               AND o.placed_at < %(now)s - make_interval(days => a.personal_days + %(grace_days)s)
 WHERE NOT EXISTS (SELECT 1 FROM package p
                    WHERE p.merchant_id = o.merchant_id AND p.order_id = o.order_id
                      AND p.modified_at >= %(now)s
                              - make_interval(days => a.personal_days + %(grace_days)s))
   AND order_has_ended(o.merchant_id, o.order_id)
 GROUP BY m.name, a.name
 ORDER BY m.name, a.name

-- name: requests
-- Every request, to be told to a database that takes this one's place (owner).
SELECT merchant_id, account_id, source, number, asked_at FROM erasure_request
 ORDER BY merchant_id, account_id, source, number

-- name: ask_again
-- Requests of a time after the backup (owner). Arrays run in parallel.
INSERT INTO erasure_request (merchant_id, account_id, source, number, asked_at)
SELECT x.merchant_id, x.account_id, x.source, x.number, x.asked_at
  FROM unnest(%(merchants)s::integer[], %(accounts)s::integer[], %(sources)s::text[],
              %(numbers)s::text[], %(asked)s::timestamptz[])
           AS x (merchant_id, account_id, source, number, asked_at)
 WHERE EXISTS (SELECT 1 FROM merchant m WHERE m.merchant_id = x.merchant_id)
ON CONFLICT DO NOTHING

-- name: erase_again
-- Everything that was asked for, at once (owner, all merchants).
SELECT coalesce(sum(cardinality(erase_orders(x.merchant_id, x.orders, %(now)s))), 0)::integer
  FROM (SELECT o.merchant_id, array_agg(o.order_id) AS orders
          FROM erasure_request r
          JOIN orders o ON o.merchant_id = r.merchant_id AND o.account_id = r.account_id
                       AND o.external_id = r.number
         WHERE o.erased_at IS NULL
         GROUP BY o.merchant_id) x

-- name: forget_deliveries_again
DELETE FROM webhook_inbox w USING erasure_request r
 WHERE w.merchant_id = r.merchant_id AND w.account_id = r.account_id

-- name: erase_past_again
UPDATE past_order p SET buyer_ref = '', erased_at = %(now)s
  FROM erasure_request r
 WHERE r.account_id = 0 AND p.merchant_id = r.merchant_id AND p.source = r.source
   AND p.number = r.number AND p.erased_at IS NULL
