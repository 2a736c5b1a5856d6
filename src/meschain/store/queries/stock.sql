-- name: variants
-- Variants by SKU, with their prices.
SELECT variant_id, sku, is_bundle, currency, list_price_minor, sale_price_minor, floor_price_minor,
       cost_minor
  FROM variant WHERE merchant_id = %(merchant)s AND sku = ANY (%(skus)s::text[])
 ORDER BY variant_id

-- name: location
-- A place by its code (the default one without a code).
SELECT location_id, code FROM location
 WHERE merchant_id = %(merchant)s
   AND CASE WHEN %(location)s::text IS NULL THEN is_default ELSE code = %(location)s END

-- name: ensure_levels
-- Rows to lock before a count is compared.
INSERT INTO stock_level (merchant_id, variant_id, location_id)
SELECT %(merchant)s, v, %(location)s FROM unnest(%(variants)s::bigint[]) v ORDER BY v
ON CONFLICT DO NOTHING

-- name: lock_levels_everywhere
-- All levels that the shown quantities of these variants follow from, in the one order of locks.
SELECT 1 FROM stock_level s
 WHERE s.merchant_id = %(merchant)s
   AND (s.variant_id = ANY (%(variants)s::bigint[])
        OR s.variant_id IN (SELECT b.component_variant_id FROM bundle_component b
                             WHERE b.merchant_id = %(merchant)s
                               AND b.bundle_variant_id = ANY (%(variants)s::bigint[])))
 ORDER BY s.variant_id, s.location_id FOR UPDATE OF s

-- name: levels
-- Units by SKU and place, in the order of the SKU; bundles have none of their own.
SELECT v.sku, coalesce(c.title, '') AS title, h.code AS location, s.on_hand, s.reserved,
       s.safety_stock, greatest(0, s.on_hand - s.reserved - s.safety_stock) AS available
  FROM variant v
  JOIN stock_level s ON s.merchant_id = v.merchant_id AND s.variant_id = v.variant_id
  JOIN location h ON h.merchant_id = s.merchant_id AND h.location_id = s.location_id
  JOIN merchant m ON m.merchant_id = v.merchant_id
  LEFT JOIN LATERAL (
      SELECT title FROM product_content
       WHERE merchant_id = v.merchant_id AND product_id = v.product_id
       ORDER BY language <> m.language, language LIMIT 1
  ) c ON true
 WHERE v.merchant_id = %(merchant)s AND v.sku > %(after)s
   AND (%(search)s::text IS NULL OR starts_with(lower(v.sku), lower(%(search)s::text)))
 ORDER BY v.sku, h.code
 LIMIT %(limit)s

-- name: movements
-- The ledger of one variant, the latest first, with what stood after each movement.
SELECT m.movement_id, h.code AS location, m.kind, m.on_hand_delta, m.reserved_delta, m.reason,
       m.actor, m.occurred_at, o.external_id AS order_number, a.name AS account_name,
       (sum(m.on_hand_delta) OVER w)::integer AS on_hand_after,
       (sum(m.reserved_delta) OVER w)::integer AS reserved_after
  FROM stock_movement m
  JOIN location h ON h.merchant_id = m.merchant_id AND h.location_id = m.location_id
  LEFT JOIN orders o ON o.merchant_id = m.merchant_id AND o.order_id = m.order_id
  LEFT JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
 WHERE m.merchant_id = %(merchant)s AND m.variant_id = %(variant)s
WINDOW w AS (PARTITION BY m.location_id ORDER BY m.movement_id)
 ORDER BY m.movement_id DESC
 LIMIT %(limit)s

-- name: set_safety_stock
-- Units held back for demand and lead-time error.
UPDATE stock_level SET safety_stock = %(units)s
 WHERE merchant_id = %(merchant)s AND location_id = %(location)s
   AND variant_id = ANY (%(variants)s::bigint[]) AND safety_stock <> %(units)s

-- name: lock_variants
-- Nobody else edits these prices while they are compared and written.
SELECT variant_id, sku, is_bundle, currency, list_price_minor, sale_price_minor, floor_price_minor,
       cost_minor
  FROM variant WHERE merchant_id = %(merchant)s AND sku = ANY (%(skus)s::text[])
 ORDER BY variant_id FOR NO KEY UPDATE

-- name: set_prices
-- List and sale prices of many variants, and what they cost.
UPDATE variant v
   SET list_price_minor = x.list_minor, sale_price_minor = x.sale_minor, cost_minor = x.cost_minor,
       updated_at = %(now)s
  FROM unnest(%(variants)s::bigint[], %(lists)s::bigint[], %(sales)s::bigint[],
              %(costs)s::bigint[]) AS x (variant_id, list_minor, sale_minor, cost_minor)
 WHERE v.merchant_id = %(merchant)s AND v.variant_id = x.variant_id

-- name: skus
-- Every SKU of the catalog.
SELECT sku FROM variant WHERE merchant_id = %(merchant)s
