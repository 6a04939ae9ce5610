"""`raysail plan`: how fast a fleet would be, what holds it up, and how many hosts a deadline needs; `fleet_model.py` has the sums."""
