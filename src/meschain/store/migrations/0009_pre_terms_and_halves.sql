-- What is to be cancelled or split, and of what: a wish for it is sent only while the package holds
-- just that. NULL: the package as a whole is to be packed or invoiced.
ALTER TABLE package_wish ADD COLUMN terms jsonb;

-- A request that was refused as a whole is told again in halves, down to the item that is to blame.
ALTER TABLE offer_dirty ADD COLUMN listings_max integer;   -- in one request with it; NULL: a batch
ALTER TABLE ticket ADD COLUMN listings_max integer;        -- of its items, to be kept when sent again
ALTER TABLE offer_refusal ADD COLUMN is_alone boolean NOT NULL DEFAULT false;  -- goes by itself now
CREATE INDEX offer_refusal_alone ON offer_refusal (merchant_id, account_id, listing_id)
    WHERE is_alone;
