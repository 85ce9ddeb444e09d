-- embeddings: what ran the Encoder, torch or openvino; null: imported, or of an earlier version.
alter table embeddings add column runtime varchar;
