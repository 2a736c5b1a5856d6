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

-- name: count_shelf_sale
-- The channel had lowered its own shelf by the units of a line that is linked only now. Counted
-- where the line names this very listing; under another code it was another shelf of the channel.
INSERT INTO offer_shelf_sale AS s (merchant_id, account_id, listing_id, order_id, placed_us, units)
SELECT o.merchant_id, o.account_id, l.listing_id, o.order_id,
       (extract(epoch FROM o.placed_at) * 1000000)::bigint, ol.units_ordered
  FROM order_line ol
  JOIN orders o ON o.merchant_id = ol.merchant_id AND o.order_id = ol.order_id
  JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
                AND a.lowers_own_shelf
  JOIN listing l ON l.merchant_id = o.merchant_id AND l.account_id = o.account_id
                AND l.variant_id = ol.variant_id AND l.state <> 'closed'
  JOIN listing_key k ON k.merchant_id = l.merchant_id AND k.account_id = l.account_id
                    AND k.listing_id = l.listing_id
                    AND (k.stock_code = nullif(ol.sku, '') OR k.barcode = nullif(ol.barcode, ''))
 WHERE ol.merchant_id = %(merchant)s AND ol.order_id = %(order)s AND ol.item_key = %(item_key)s
   AND ol.units_ordered > 0
ON CONFLICT (merchant_id, account_id, listing_id, order_id) DO UPDATE
   SET units = s.units + excluded.units

-- name: tell_again
-- The shelf of the line's own channel may be lower than we think, so its quantity is told again even
-- where it stays as it was; what this transaction has changed is dirty already. As in take_order.
WITH told_again AS (
    UPDATE offer_desired_quantity d SET revision = d.revision + 1
     WHERE d.merchant_id = %(merchant)s
       AND (d.account_id, d.listing_id) IN (
           SELECT l.account_id, l.listing_id
             FROM order_line ol
             JOIN orders o ON o.merchant_id = ol.merchant_id AND o.order_id = ol.order_id
             JOIN listing l ON l.merchant_id = o.merchant_id AND l.account_id = o.account_id
                           AND l.variant_id = ol.variant_id AND l.state <> 'closed'
            WHERE ol.merchant_id = %(merchant)s AND ol.order_id = %(order)s
              AND ol.item_key = %(item_key)s)
       AND d.xmin <> pg_current_xact_id()::xid
    RETURNING d.account_id, d.listing_id
), marked AS (
    INSERT INTO offer_dirty AS o
        (merchant_id, account_id, listing_id, field, urgency, rank, since_us, reassert)
    SELECT %(merchant)s, t.account_id, t.listing_id, 1, 3, 0, %(now_us)s, true
      FROM told_again t ORDER BY t.listing_id
    ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
       SET not_before_us = 0, since_us = least(o.since_us, excluded.since_us), reassert = true
    RETURNING o.account_id
)
SELECT coalesce(array_agg(DISTINCT account_id), '{}') FROM marked

-- name: resolve_alerts
-- Close the open alerts of one kind about one subject.
UPDATE alert SET resolved_us = %(now_us)s
 WHERE merchant_id = %(merchant)s AND kind = %(kind)s AND subject = %(subject)s
   AND resolved_us IS NULL
