-- runs: what decided a Run, hashed: configuration, Cohort, Embeddings, code and device; null: older.
alter table runs add column key varchar;
