"""Shared documents: the Yjs wire format, the sync and awareness cores, and the flush loop."""
