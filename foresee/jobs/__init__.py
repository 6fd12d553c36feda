"""One command each: read, run, write.

The functions to call first are `foresee.jobs.drive.drive` and `foresee.jobs.calibrate.calibrate`, which the
commands `foresee drive` and `foresee calibrate` call.
"""
