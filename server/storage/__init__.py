"""Stores: what must outlive the process. Twins behind `rooms.ports.Store`, one test suite for all.

`memory` for tests and trials, `sqlite` for one process on one machine. Only this package knows SQL.
"""
