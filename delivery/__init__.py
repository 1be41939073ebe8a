"""Finished audio to where its caller finds it: in the reply, in a bucket, or on the volume."""

from delivery.delivering import SPILL_FOLDER, Delivered, Delivery, DeliveryMode, Target
from delivery.s3 import Bucket
from delivery.spill import Spill

__all__ = ["SPILL_FOLDER", "Bucket", "Delivered", "Delivery", "DeliveryMode", "Spill", "Target"]
