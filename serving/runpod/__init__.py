"""The queue of RunPod: jobs as the SDK hands them out, replies as the platform carries them."""
