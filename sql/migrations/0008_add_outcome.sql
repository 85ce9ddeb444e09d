-- labels: which of three a parser's Reading was, and why it has no value; null: a person's, or of an
-- earlier version.
alter table labels add column outcome varchar;

alter table labels add column reason varchar;
