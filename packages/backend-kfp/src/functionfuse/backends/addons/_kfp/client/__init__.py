"""Running a pipeline, on a server of Kubeflow Pipelines or under `kfp.local`, and receiving the outcomes."""
