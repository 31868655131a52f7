"""The tables of "one gate for every modality": active fraction against quality, calibration and time, over seeds."""
