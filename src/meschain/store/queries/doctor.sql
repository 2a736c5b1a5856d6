-- What `meschain doctor` asks, as the owner and reading only. Times in microseconds since the epoch.

-- name: server
-- What the server is and how it is set.
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       pg_database_size(current_database()) AS size_bytes,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS clock_us,
       array(SELECT name FROM pg_settings
              WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')
                AND setting = 'off' ORDER BY name) AS unsafe,
       current_setting('data_checksums') = 'on' AS has_checksums,
       current_setting('max_connections')::integer AS connections_max,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::bigint
          FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()) AS transaction_s,
       (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()) AS xid_age,
       (SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user) AS may_create,
       pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' AS only_reads

-- name: archive
-- Whether the server archives its log, so that it can be taken back to any moment.
SELECT current_setting('archive_mode') <> 'off' AS is_on,
       coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS is_failing,
       (extract(epoch FROM last_archived_time) * 1000000)::bigint AS last_us
  FROM pg_stat_archiver

-- name: bloat
-- Large tables of which a good part is dead rows that nobody has cleaned up.
SELECT relname AS name, n_dead_tup * 100 / (n_live_tup + n_dead_tup) AS percent
  FROM pg_stat_user_tables
 WHERE n_dead_tup > 100000 AND n_dead_tup > n_live_tup
 ORDER BY n_dead_tup DESC LIMIT 3

-- name: accounts
-- Each account: who serves it, what waits, what was refused.
SELECT m.name AS merchant, a.name, a.state,
       coalesce(o.owner IS NOT NULL AND o.lease_until_us > %(now_us)s, false) AS is_served,
       c.fresh_us,
       (SELECT min(since_us) FROM offer_dirty d WHERE d.merchant_id = a.merchant_id
           AND d.account_id = a.account_id) AS oldest_us,
       (SELECT count(*) FROM offer_refusal r WHERE r.merchant_id = a.merchant_id
           AND r.account_id = a.account_id) AS refused,
       (SELECT count(*) FROM attempt t WHERE t.merchant_id = a.merchant_id
           AND t.account_id = a.account_id AND t.status = 429
           AND t.at_us > %(now_us)s - 3600000000) AS throttled,
       (SELECT min(received_us) FROM webhook_inbox w WHERE w.merchant_id = a.merchant_id
           AND w.account_id = a.account_id AND w.handled_us IS NULL) AS waiting_us,
       (SELECT min(wish_us) FROM package_wish p WHERE p.merchant_id = a.merchant_id
           AND p.account_id = a.account_id AND p.phase < 4) AS wish_us
  FROM account a
  JOIN merchant m ON m.merchant_id = a.merchant_id
  LEFT JOIN ownership o ON o.merchant_id = a.merchant_id AND o.account_id = a.account_id
  LEFT JOIN order_cursor c ON c.merchant_id = a.merchant_id AND c.account_id = a.account_id
 WHERE a.state <> 'closed'
 ORDER BY m.name, a.name

-- name: lanes
-- The lanes of accounts that may send.
SELECT m.name AS merchant, a.name, l.name AS lane, l.is_paused, l.interval_s, l.last_run_us,
       l.last_success_us, l.last_error, l.last_error_us, l.net_found
  FROM lane l
  JOIN account a ON a.merchant_id = l.merchant_id AND a.account_id = l.account_id
  JOIN merchant m ON m.merchant_id = l.merchant_id
 WHERE a.state = 'armed'
 ORDER BY m.name, a.name, l.name

-- name: alerts
-- Open alerts.
SELECT count(*) FROM alert WHERE resolved_us IS NULL

-- name: data_keys
-- Every sealed data key, to try the master key on.
SELECT merchant_id, key_number, wrapped FROM data_key ORDER BY merchant_id, key_number

-- name: images
-- Every content that some merchant has: hash and type.
SELECT DISTINCT encode(content_hash, 'hex'), media_type FROM media WHERE content_hash IS NOT NULL
