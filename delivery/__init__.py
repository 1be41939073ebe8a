"""Finished audio to where its caller finds it: in the reply, in a bucket, or on the volume."""

from delivery.delivering import SPILL_FOLDER, Deliverer
from delivery.s3 import DEFAULT_REGION, Bucket, BucketConfig
from delivery.spill import Spill

__all__ = ["DEFAULT_REGION", "SPILL_FOLDER", "Bucket", "BucketConfig", "Deliverer", "Spill"]
