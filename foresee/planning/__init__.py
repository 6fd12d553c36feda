"""Plans: search on grids and in trees."""
