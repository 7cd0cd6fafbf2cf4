"""The only place that knows PySyft: cohorts as its datasets and plans as its jobs, over a shared folder.

PySyft 0.10 syncs files between parties, encrypted from end to end; it decides nothing here. What it lacks and fedward adds is
said in docs/governance.md. Its own job runner is never imported, nor its automatic approval, nor its logins: a test looks.
"""
