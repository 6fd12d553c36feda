"""Drivers that plan or learn; `foresee.driving.drivers.pdm` is where to begin."""
