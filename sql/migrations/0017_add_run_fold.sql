-- runs: the fold of its Cohort that it was tested on; null: the Cohort has a test side.
alter table runs add column fold varchar;

update runs
set fold = config ->> 'fold';
