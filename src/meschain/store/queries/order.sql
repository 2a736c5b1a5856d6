-- name: take
-- Take in one observation of an order; see functions/02_order.sql.
SELECT o_order_id, o_outcome, o_accounts, o_backorder, o_is_unclear
  FROM take_order(%(merchant)s, %(account)s, %(order)s::jsonb, %(person)s, %(raw)s,
                  %(key_number)s, %(now)s, %(now_us)s)

-- name: link_line
-- Say which variant an unknown SKU of an order is.
UPDATE order_line SET variant_id = %(variant)s
 WHERE merchant_id = %(merchant)s AND order_id = %(order)s AND item_key = %(item_key)s
   AND variant_id IS NULL
RETURNING order_id

-- name: settle
-- Make reservations, ledger and desired quantities agree with the order.
SELECT settle_order(%(merchant)s, %(order)s, %(actor)s, %(now)s, %(now_us)s)

-- name: resolve_alerts
-- Close the open alerts of one kind about one subject.
UPDATE alert SET resolved_us = %(now_us)s
 WHERE merchant_id = %(merchant)s AND kind = %(kind)s AND subject = %(subject)s
   AND resolved_us IS NULL
