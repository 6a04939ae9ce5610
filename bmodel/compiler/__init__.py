"""The vendor's compiler: its installation, its runs, its schedule and what that predicts."""
