"""Finished audio to where its caller finds it: in the reply, in a bucket, or on the volume."""

from delivery.delivering import Delivered, Delivery, DeliveryMode, Target
from delivery.s3 import Bucket
from delivery.spill import SPILL_FOLDER, Spill, spill_folder

__all__ = [
    "SPILL_FOLDER",
    "Bucket",
    "Delivered",
    "Delivery",
    "DeliveryMode",
    "Spill",
    "Target",
    "spill_folder",
]
