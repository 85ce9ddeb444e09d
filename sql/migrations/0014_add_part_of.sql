-- ledger_files: the compacted file that a file's rows stand in now; null: they stand in itself.
alter table ledger_files add column part_of varchar;
