-- name: codes
-- All codes that a file may be named after.
SELECT v.variant_id, v.product_id, v.sku, coalesce(v.barcode, ''), p.model_code
  FROM variant v
  JOIN product p ON p.merchant_id = v.merchant_id AND p.product_id = v.product_id
 WHERE v.merchant_id = %(merchant)s
 ORDER BY v.variant_id

-- name: local_files
-- Images that came as files: whose, at which place, and which content.
SELECT product_id, variant_id, position, encode(content_hash, 'hex')
  FROM media
 WHERE merchant_id = %(merchant)s AND source_url LIKE 'local:%%'

-- name: put_files
-- Images that came as files; a place holds one. Whoever was removed meanwhile gets none.
INSERT INTO media (merchant_id, product_id, variant_id, position, source_url, content_hash,
                   media_type, width_px, height_px, content_bytes, file_name, looked_at)
SELECT %(merchant)s, x.product_id, x.variant_id, x.place, 'local:' || x.place,
       decode(x.content_hash, 'hex'), x.media_type, x.width_px, x.height_px, x.content_bytes,
       x.file_name, %(now)s
  FROM json_to_recordset(%(rows)s::json)
       AS x (product_id bigint, variant_id bigint, place integer, content_hash text,
             media_type text, width_px integer, height_px integer, content_bytes bigint,
             file_name text)
  JOIN product p ON p.merchant_id = %(merchant)s AND p.product_id = x.product_id
 WHERE x.variant_id IS NULL
    OR EXISTS (SELECT 1 FROM variant v WHERE v.merchant_id = %(merchant)s
                  AND v.variant_id = x.variant_id AND v.product_id = x.product_id)
ON CONFLICT (merchant_id, product_id, variant_id, source_url) DO UPDATE
   SET content_hash = excluded.content_hash, media_type = excluded.media_type,
       width_px = excluded.width_px, height_px = excluded.height_px,
       content_bytes = excluded.content_bytes, file_name = excluded.file_name,
       looked_at = excluded.looked_at

-- name: drop_files
-- Images of one owner that came as files (of one place only).
DELETE FROM media
 WHERE merchant_id = %(merchant)s AND product_id = %(product)s
   AND variant_id IS NOT DISTINCT FROM %(variant)s::bigint AND source_url LIKE 'local:%%'
   AND (%(place)s::integer IS NULL OR position = %(place)s)
RETURNING media_id

-- name: addresses
-- Every address that the catalog names, with what is known of its content.
SELECT source_url, max(encode(content_hash, 'hex')), max(media_type),
       bool_or(problem IS NOT NULL OR content_hash IS NULL)
  FROM media
 WHERE merchant_id = %(merchant)s AND source_url NOT LIKE 'local:%%'
 GROUP BY source_url
 ORDER BY source_url

-- name: put_fetched
-- What addresses gave. One that gives nothing any more keeps the content it gave before.
UPDATE media i
   SET content_hash = CASE WHEN x.content_hash IS NULL THEN i.content_hash
                           ELSE decode(x.content_hash, 'hex') END,
       media_type = coalesce(x.media_type, i.media_type),
       width_px = coalesce(x.width_px, i.width_px),
       height_px = coalesce(x.height_px, i.height_px),
       content_bytes = coalesce(x.content_bytes, i.content_bytes),
       problem = x.problem, looked_at = %(now)s
  FROM json_to_recordset(%(rows)s::json)
       AS x (source_url text, content_hash text, media_type text, width_px integer,
             height_px integer, content_bytes bigint, problem jsonb)
 WHERE i.merchant_id = %(merchant)s AND i.source_url = x.source_url

-- name: list
-- Images as their merchant sees them.
SELECT i.media_id, p.model_code, coalesce(v.sku, '') AS sku, i.position,
       CASE WHEN i.source_url LIKE 'local:%%' THEN '' ELSE i.source_url END AS source_url,
       coalesce(i.file_name, '') AS file_name, encode(i.content_hash, 'hex') AS content_hash,
       i.media_type, i.width_px, i.height_px, i.content_bytes, i.looked_at, i.problem
  FROM media i
  JOIN product p ON p.merchant_id = i.merchant_id AND p.product_id = i.product_id
  LEFT JOIN variant v ON v.merchant_id = i.merchant_id AND v.variant_id = i.variant_id
 WHERE i.merchant_id = %(merchant)s AND i.media_id > %(after)s
   AND (%(code)s::text IS NULL OR p.model_code = %(code)s OR v.sku = %(code)s
        OR v.barcode = %(code)s)
   AND (NOT %(problems)s OR i.problem IS NOT NULL OR i.content_hash IS NULL)
 ORDER BY i.media_id
 LIMIT %(limit)s

-- name: used
-- Hashes of every content that some merchant has (owner).
SELECT DISTINCT encode(content_hash, 'hex') FROM media WHERE content_hash IS NOT NULL

-- name: of_merchant
-- Contents of one merchant: hash and type.
SELECT DISTINCT encode(content_hash, 'hex'), media_type FROM media
 WHERE merchant_id = %(merchant)s AND content_hash IS NOT NULL AND media_type IS NOT NULL
 ORDER BY 1
