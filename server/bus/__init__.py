"""Buses: what joins instances. Twins behind `rooms.ports.Bus`, one test suite for all.

`memory` for one process. Only this package knows Redis.
"""
