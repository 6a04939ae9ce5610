"""Devices that run a network: one protocol, several implementations."""
