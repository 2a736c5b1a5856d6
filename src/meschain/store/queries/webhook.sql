-- name: by_token
-- Whose deliveries come to this unguessable path, and the sealed secret they must carry.
SELECT merchant_id, account_id, webhook_id, sealed, key_number
  FROM webhook WHERE path_token = %(path_token)s

-- name: of_account
-- The webhooks of one account; secrets stay where they are.
SELECT webhook_id, url, path_token, is_active, created_at
  FROM webhook WHERE merchant_id = %(merchant)s AND account_id = %(account)s
 ORDER BY created_at, webhook_id

-- name: intend
-- Before the marketplace is asked: its first delivery may come before its answer.
INSERT INTO webhook (merchant_id, account_id, webhook_id, url, path_token, sealed, key_number,
                     is_active, created_at)
VALUES (%(merchant)s, %(account)s, %(webhook)s, %(url)s, %(path_token)s, %(sealed)s,
        %(key_number)s, false, %(now)s)

-- name: confirm
-- What the marketplace knows it as, and whether it delivers.
UPDATE webhook SET webhook_id = %(webhook)s, is_active = %(is_active)s
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND url = %(url)s

-- name: forget
-- The marketplace does not know it (any more).
DELETE FROM webhook
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND url = %(url)s

-- name: unhandled
-- Deliveries nobody has taken in yet: of a killed process, of one that does not serve the account,
-- or of a moment when the database was away.
SELECT merchant_id, account_id, inbox_id, body_sealed, key_number FROM webhook_inbox
 WHERE merchant_id = ANY (%(merchants)s::integer[]) AND account_id = ANY (%(accounts)s::integer[])
   AND handled_us IS NULL AND NOT inbox_id = ANY (%(under_way)s::bigint[])
 ORDER BY inbox_id
 LIMIT %(limit)s

-- name: handled
-- Taken in; many at once. Lost with a killed process, they are taken in again, which is harmless.
UPDATE webhook_inbox i SET handled_us = %(now_us)s
  FROM unnest(%(merchants)s::integer[], %(accounts)s::integer[], %(inboxes)s::bigint[])
           AS x (merchant_id, account_id, inbox_id)
 WHERE i.merchant_id = x.merchant_id AND i.account_id = x.account_id AND i.inbox_id = x.inbox_id

-- name: forget_handled
-- They hold buyers' data.
DELETE FROM webhook_inbox
 WHERE merchant_id = ANY (%(merchants)s::integer[]) AND account_id = ANY (%(accounts)s::integer[])
   AND handled_us < %(before_us)s

-- name: resolve_alerts
-- What was missing is there again.
UPDATE alert SET resolved_us = %(now_us)s
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND kind = %(kind)s
   AND resolved_us IS NULL
