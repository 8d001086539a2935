"""Buses: what joins instances. Twins behind `rooms.ports.Bus`, one test suite for all.

`memory` for one process, `redis` for several instances. Only this package knows Redis.
"""
