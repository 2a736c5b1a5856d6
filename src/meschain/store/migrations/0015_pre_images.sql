-- What is known of an image's content. ``content_hash``, ``media_type``, ``width_px`` and ``height_px``
-- are there since 0001; the content itself lies in the data folder, under its hash.
-- An image that came as a file has no address: its ``source_url`` is ``local:`` and its place.
ALTER TABLE media
    ADD COLUMN content_bytes bigint CHECK (content_bytes > 0),
    ADD COLUMN file_name     text,          -- what a local file was called
    ADD COLUMN looked_at     timestamptz,   -- when it was taken in, or its address last tried
    ADD COLUMN problem       jsonb;         -- why its address gave no image: {"key", "params"}
ALTER TABLE media
    ADD CHECK ((content_hash IS NULL) = (media_type IS NULL)),
    ADD CHECK (media_type IN ('image/jpeg', 'image/png', 'image/webp', 'image/avif'));

-- Whether anybody has a content, and whose an address is.
CREATE INDEX media_content ON media (content_hash, merchant_id) WHERE content_hash IS NOT NULL;
CREATE INDEX media_source ON media (source_url, merchant_id);
