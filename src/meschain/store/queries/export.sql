-- name: products
-- Whole products as an import would state them, in the order in which they came, with the units
-- counted at one location. JSON as text, so that numbers keep their digits.
SELECT p.product_id, p.model_code, p.brand, p.category_path, p.attributes::text,
       coalesce((SELECT json_agg(json_build_object(
                     'language', c.language, 'title', c.title,
                     'description_html', c.description_html) ORDER BY c.language)
                   FROM product_content c
                  WHERE c.merchant_id = p.merchant_id AND c.product_id = p.product_id), '[]')::text,
       ARRAY(SELECT i.source_url FROM media i
              WHERE i.merchant_id = p.merchant_id AND i.product_id = p.product_id
                AND i.variant_id IS NULL AND i.source_url NOT LIKE 'local:%%'
              ORDER BY i.position, i.media_id),
       coalesce((SELECT json_agg(json_build_object(
                     'sku', v.sku, 'barcode', v.barcode, 'attributes', v.attributes,
                     'currency', v.currency, 'list_price_minor', v.list_price_minor,
                     'sale_price_minor', v.sale_price_minor, 'cost_minor', v.cost_minor,
                     'vat_percent', v.vat_percent::text, 'desi', v.desi::text,
                     'weight_g', v.weight_g, 'length_mm', v.length_mm, 'width_mm', v.width_mm,
                     'height_mm', v.height_mm, 'handling_days', v.handling_days,
                     'origin_country', v.origin_country,
                     'image_urls', ARRAY(
                         SELECT i.source_url FROM media i
                          WHERE i.merchant_id = v.merchant_id AND i.product_id = v.product_id
                            AND i.variant_id = v.variant_id AND i.source_url NOT LIKE 'local:%%'
                          ORDER BY i.position, i.media_id),
                     'bundle', (SELECT json_object_agg(c.sku, b.units ORDER BY c.sku)
                                  FROM bundle_component b
                                  JOIN variant c ON c.merchant_id = b.merchant_id
                                                AND c.variant_id = b.component_variant_id
                                 WHERE v.is_bundle AND b.merchant_id = v.merchant_id
                                   AND b.bundle_variant_id = v.variant_id),
                     'on_hand', CASE WHEN NOT v.is_bundle THEN
                         (SELECT s.on_hand FROM stock_level s
                           WHERE s.merchant_id = v.merchant_id AND s.variant_id = v.variant_id
                             AND s.location_id = %(location)s) END)
                     ORDER BY v.variant_id)
                   FROM variant v
                  WHERE v.merchant_id = p.merchant_id AND v.product_id = p.product_id), '[]')::text
  FROM product p
 WHERE p.merchant_id = %(merchant)s AND p.product_id > %(after)s
 ORDER BY p.product_id
 LIMIT %(limit)s

-- name: stock
-- Units by SKU and place. Bundles have none of their own.
SELECT s.variant_id, s.location_id, v.sku, h.code, coalesce(c.title, ''), s.on_hand, s.reserved,
       s.safety_stock, greatest(0, s.on_hand - s.reserved - s.safety_stock)
  FROM stock_level s
  JOIN variant v ON v.merchant_id = s.merchant_id AND v.variant_id = s.variant_id
  JOIN location h ON h.merchant_id = s.merchant_id AND h.location_id = s.location_id
  JOIN merchant m ON m.merchant_id = s.merchant_id
  LEFT JOIN LATERAL (
      SELECT title FROM product_content
       WHERE merchant_id = v.merchant_id AND product_id = v.product_id
       ORDER BY language <> m.language, language LIMIT 1
  ) c ON true
 WHERE s.merchant_id = %(merchant)s
   AND (s.variant_id, s.location_id) > (%(after)s, %(after_place)s)
   AND (%(location)s::integer IS NULL OR s.location_id = %(location)s)
 ORDER BY s.variant_id, s.location_id
 LIMIT %(limit)s

-- name: prices
-- Prices by SKU.
SELECT v.variant_id, v.sku, coalesce(c.title, ''), v.currency, v.list_price_minor,
       v.sale_price_minor, v.cost_minor, v.vat_percent
  FROM variant v
  JOIN merchant m ON m.merchant_id = v.merchant_id
  LEFT JOIN LATERAL (
      SELECT title FROM product_content
       WHERE merchant_id = v.merchant_id AND product_id = v.product_id
       ORDER BY language <> m.language, language LIMIT 1
  ) c ON true
 WHERE v.merchant_id = %(merchant)s AND v.variant_id > %(after)s
 ORDER BY v.variant_id
 LIMIT %(limit)s

-- name: orders
-- Orders in the order in which they were placed, each with the lines of its packages as JSON text. A
-- package that was broken up lives on in others. No personal data of buyers.
SELECT o.order_id, o.placed_at, o.external_id, a.name, a.marketplace, o.currency, o.city,
       o.country_code, '', o.is_company, o.micro_export, o.erased_at IS NOT NULL,
       (SELECT coalesce(json_agg(json_build_object(
                   'package', p.external_id, 'state', coalesce(p.state, p.state_raw),
                   'carrier', p.carrier, 'tracking_number', p.tracking_number,
                   'invoice_number', p.invoice_number, 'line_id', pl.line_id,
                   'sku', coalesce(v.sku, nullif(ol.sku, ''), ol.barcode), 'barcode', ol.barcode,
                   'title', ol.title, 'units', pl.units, 'unit_price', pl.unit_gross::text,
                   'unit_seller_discount', pl.unit_seller_discount::text,
                   'unit_marketplace_discount', pl.unit_marketplace_discount::text,
                   'payable', pl.payable::text, 'vat_percent', pl.vat_percent::text,
                   'commission_percent', pl.commission_percent::text)
                   ORDER BY p.external_id, pl.line_id), '[]')::text
          FROM package p
          JOIN package_line pl ON pl.merchant_id = p.merchant_id AND pl.order_id = p.order_id
                              AND pl.package_id = p.external_id
          JOIN order_line ol ON ol.merchant_id = pl.merchant_id AND ol.order_id = pl.order_id
                            AND ol.item_key = pl.item_key
          LEFT JOIN variant v ON v.merchant_id = ol.merchant_id AND v.variant_id = ol.variant_id
         WHERE p.merchant_id = o.merchant_id AND p.order_id = o.order_id
           AND p.state IS DISTINCT FROM 'superseded')
  FROM orders o
  JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
 WHERE o.merchant_id = %(merchant)s
   AND (o.placed_at, o.order_id) > (%(after_at)s::timestamptz, %(after)s)
   AND (%(since)s::timestamptz IS NULL OR o.placed_at >= %(since)s)
   AND (%(until)s::timestamptz IS NULL OR o.placed_at < %(until)s)
 ORDER BY o.placed_at, o.order_id
 LIMIT %(limit)s

-- name: past_orders
-- Orders of the time before the hub in the order in which they came, in the same columns.
SELECT p.past_order_id, p.placed_at, p.number, p.source, '', p.currency, p.city, p.country,
       p.buyer_ref, NULL::boolean, NULL::boolean, false,
       (SELECT coalesce(json_agg(json_build_object(
                   'package', '', 'state', l.state, 'carrier', '', 'tracking_number', '',
                   'invoice_number', '', 'line_id', l.line_number::text, 'sku', l.sku,
                   'barcode', l.barcode, 'title', l.title, 'units', l.units,
                   'unit_price', l.unit_price::text, 'unit_seller_discount', '',
                   'unit_marketplace_discount', '', 'payable', l.payable::text,
                   'vat_percent', l.vat_percent::text,
                   'commission_percent', l.commission_percent::text)
                   ORDER BY l.line_number), '[]')::text
          FROM past_order_line l
         WHERE l.merchant_id = p.merchant_id AND l.past_order_id = p.past_order_id)
  FROM past_order p
 WHERE p.merchant_id = %(merchant)s AND p.past_order_id > %(after)s
   AND (%(since)s::timestamptz IS NULL OR p.placed_at >= %(since)s)
   AND (%(until)s::timestamptz IS NULL OR p.placed_at < %(until)s)
 ORDER BY p.past_order_id
 LIMIT %(limit)s
