"""A run: from the tasks of a recipe to scores and a report, stage by stage, left to right."""
