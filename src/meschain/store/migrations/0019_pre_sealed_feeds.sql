-- The address of a feed may carry a user, a password or a key, so it is sealed like credentials, and
-- ``source`` keeps what may be shown. Addresses from before are sealed by the next look at them.
ALTER TABLE supplier_feed
    ADD COLUMN key_number    integer,                 -- NULL with a path, which is no secret
    ADD COLUMN source_sealed bytea;
