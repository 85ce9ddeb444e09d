-- runs: one row per Run, the newest first, with its test metrics beside the ridge floor; of classes
-- auc and accuracy, of other Targets r2 and mae. A table for people ends with the floor's scores.
select
    runs.run_id,
    max(metrics.value) filter (
        metrics.split = 'test' and metrics.metric = 'r2' and targets.kind is distinct from 'binary'
    ) as r2,
    max(metrics.value) filter (
        metrics.split = 'test' and metrics.metric = 'mae' and targets.kind is distinct from 'binary'
    ) as mae,
    max(metrics.value) filter (metrics.split = 'test' and metrics.metric = 'auc') as auc,
    max(metrics.value) filter (metrics.split = 'test' and metrics.metric = 'accuracy') as accuracy,
    runs.cohort,
    encoders.name as encoder,
    runs.model,
    runs.bag_size,
    runs.seed,
    runs.fold,
    runs.n_train,
    runs.n_test,
    runs.seconds,
    max(metrics.value) filter (
        metrics.split = 'ridge_test' and metrics.metric = 'r2' and targets.kind is distinct from 'binary'
    ) as ridge_r2,
    max(metrics.value) filter (metrics.split = 'ridge_test' and metrics.metric = 'auc') as ridge_auc,
    runs.encoder_id,
    runs.tiling_id,
    runs.target,
    runs.n_validation,
    runs.started_at,
    runs.code_version,
    runs.config,
    runs.sequence,
    runs.digest
from runs
left join encoders on encoders.encoder_id = runs.encoder_id
left join targets on targets.target = runs.target
left join metrics on metrics.run_id = runs.run_id
group by all
order by runs.sequence desc, runs.started_at desc, runs.run_id desc
