"""Voices from and to places outside a store: recordings, other stores, exported folders and tars."""
