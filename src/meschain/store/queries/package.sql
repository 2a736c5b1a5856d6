-- name: order
-- One order by the marketplace's number; several accounts may use the same.
SELECT o.order_id, o.external_id, o.account_id, a.name AS account, a.marketplace, o.placed_at,
       o.first_seen_us, o.detected_by, o.currency, o.payable_minor, o.payment_method,
       o.micro_export, o.is_company, o.city, o.country_code, o.person_sealed, o.key_number,
       o.unknown_fields
  FROM orders o
  JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
 WHERE o.merchant_id = %(merchant)s AND o.external_id = %(number)s
   AND (%(account)s::integer IS NULL OR o.account_id = %(account)s)
 ORDER BY o.order_id

-- name: packages
-- The packages of an order with their lines.
SELECT p.external_id, p.state, p.state_raw, p.wanted_state, p.modified_at, p.carrier,
       p.cargo_code, p.tracking_number, p.desi, p.cargo_payer, p.ship_by, p.invoice_number,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'line_id', l.line_id, 'item_key', l.item_key, 'units', l.units,
                   'payable', l.payable::text, 'unit_gross', l.unit_gross::text,
                   'unit_seller_discount', l.unit_seller_discount::text,
                   'unit_marketplace_discount', l.unit_marketplace_discount::text,
                   'vat_percent', l.vat_percent::text,
                   'commission_percent', l.commission_percent::text,
                   'state_raw', l.state_raw) ORDER BY l.line_id), '[]')
          FROM package_line l
         WHERE l.merchant_id = p.merchant_id AND l.order_id = p.order_id
           AND l.package_id = p.external_id) AS lines
  FROM package p
 WHERE p.merchant_id = %(merchant)s AND p.order_id = %(order)s
 ORDER BY p.external_id

-- name: items
-- What was ordered, with the variants that we take it for.
SELECT l.item_key, v.sku, l.sku AS sku_given, l.barcode, l.title, l.units_ordered,
       l.units_backorder
  FROM order_line l
  LEFT JOIN variant v ON v.merchant_id = l.merchant_id AND v.variant_id = l.variant_id
 WHERE l.merchant_id = %(merchant)s AND l.order_id = %(order)s
 ORDER BY l.item_key

-- name: want
-- What the merchant asked for, until it stands (or is refused: NULL).
UPDATE package SET wanted_state = %(state)s
 WHERE merchant_id = %(merchant)s AND order_id = %(order)s AND external_id = %(package)s

-- name: put_invoice_number
-- The number that was reported with the package.
UPDATE package SET invoice_number = %(number)s
 WHERE merchant_id = %(merchant)s AND order_id = %(order)s AND external_id = %(package)s

-- name: sender
-- Whose name stands on the label.
SELECT name FROM merchant WHERE merchant_id = %(merchant)s
