"""Training: the plan, the course of a run, the steps, and the folder it is kept in."""
