"""Tests of swarmshd and swarmctl. Marks and fixtures are described in pyproject.toml and conftest.py."""
