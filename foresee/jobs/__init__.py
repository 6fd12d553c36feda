"""One command each: read, run, write.

The function to call first is `foresee.jobs.drive.drive`, which is what the command `foresee drive` calls.
"""
