"""The main job on real data, and workflows to learn from."""
