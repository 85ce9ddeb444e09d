-- slides: what the file says of the scale, and who decided on it.
alter table slides add column mpp_file double;  -- microns per level-0 pixel; null: the file is silent

-- null: a row of an earlier version
alter table slides add column mpp_source varchar;
