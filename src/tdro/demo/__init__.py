"""The demo: real tasks and a real model out of packages on PyPI."""
