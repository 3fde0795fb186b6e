"""The S3 store passes the conformance suite of stores, against a real server."""

from __future__ import annotations

import pytest
import s3_server as s3

from functionfuse.testing.store_tests import StoreTests


class TestS3(StoreTests):
    @pytest.fixture
    def store(self, s3_store, s3_api):
        self.api = s3_api
        return s3_store

    def damage(self, store, workflow, task, mutate):
        folder, stem = store._records.encode(workflow), store._records.encode(task)
        target = {"Bucket": s3.BUCKET, "Key": f"{store.path.partition(s3.BUCKET)[2][1:]}/{folder}/{stem}.ffr"}
        self.api.put_object(**target, Body=mutate(self.api.get_object(**target)["Body"].read()))
