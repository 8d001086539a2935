"""The process: adapters and wiring around `rooms` and `signaling`."""
