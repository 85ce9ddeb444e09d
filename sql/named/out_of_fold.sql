-- out_of_fold: one row per Slide and Run that left it out: the Runs of the cross-validation of $run,
-- which differ from it in fold and seed alone; a Run without folds left out its test Slides.
with own as (
    select
        runs.*,
        json_merge_patch(config, '{"fold": null, "seed": null}') as alike
    from runs
    where run_id = $run
)

select
    predictions.slide_id,
    runs.config ->> 'fold' as fold,
    runs.seed,
    runs.run_id,
    predictions.label,
    predictions.mean,
    predictions.std
from runs
inner join own on own.cohort = runs.cohort
    and own.encoder_id = runs.encoder_id
    and own.tiling_id = runs.tiling_id
    and own.alike = json_merge_patch(runs.config, '{"fold": null, "seed": null}')
inner join predictions on predictions.run_id = runs.run_id and predictions.split = 'test'
order by predictions.slide_id, runs.seed, runs.run_id
