-- tilings: what another tool does not say of how it cut a Slide is null.
alter table tilings alter column tile_px drop not null;

alter table tilings alter column tile_mpp drop not null;

alter table tilings alter column min_tissue drop not null;
