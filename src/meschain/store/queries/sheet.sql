-- name: locations
-- The merchant's places.
SELECT location_id, code, is_default FROM location WHERE merchant_id = %(merchant)s ORDER BY code

-- name: levels
-- Counted units and safety stock at one place; never counted: absent.
SELECT variant_id, on_hand, safety_stock FROM stock_level
 WHERE merchant_id = %(merchant)s AND location_id = %(location)s
   AND variant_id = ANY (%(variants)s::bigint[])

-- name: lock_levels
-- The same, locked in the one order of locks.
SELECT variant_id, on_hand, safety_stock FROM stock_level
 WHERE merchant_id = %(merchant)s AND location_id = %(location)s
   AND variant_id = ANY (%(variants)s::bigint[])
 ORDER BY variant_id, location_id FOR UPDATE

-- name: set_safety_stocks
-- Units held back, each variant its own.
UPDATE stock_level s SET safety_stock = x.units
  FROM unnest(%(variants)s::bigint[], %(units)s::integer[]) AS x (variant_id, units)
 WHERE s.merchant_id = %(merchant)s AND s.location_id = %(location)s
   AND s.variant_id = x.variant_id

-- name: foreign_currencies
-- SKUs that are priced in another currency than the merchant's.
SELECT v.sku, v.currency FROM variant v JOIN merchant m USING (merchant_id)
 WHERE v.merchant_id = %(merchant)s AND v.currency <> m.currency
