"""Calls functions for a worker: page 10 of the specification, section "Interpreters".

A worker starts ``python -m scalems_pilot.interpreter``. Nothing here imports what is not needed for that: it is started often.
"""
