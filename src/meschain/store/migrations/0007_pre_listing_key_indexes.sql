-- While a table was never analyzed, the planner takes two columns of a key for enough to find one row,
-- and any index that begins with them for as good as the primary key: each look-up by listing then read
-- all listings of its account. With the account last these serve only who asks by their own column.
ALTER TABLE listing_key DROP CONSTRAINT listing_key_merchant_id_account_id_push_key_key;
DROP INDEX listing_key_barcode;
DROP INDEX listing_key_stock_code;
ALTER TABLE listing_key ADD UNIQUE (merchant_id, push_key, account_id);
CREATE INDEX listing_key_barcode ON listing_key (merchant_id, barcode, account_id);
CREATE INDEX listing_key_stock_code ON listing_key (merchant_id, stock_code, account_id);
